"""How metrics went on after a request: one panel a metric, one line a strategy."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, TransformedBbox

from fedunlearn.results import (
    CARDS,
    GAP_SUFFIX,
    GOAL_DASHES,
    GREY_COLOUR,
    INK_COLOUR,
    NOBODY_NAMED,
    PHASE_DASHES,
    RETRAIN,
    SHARED_TRAINING,
    Look,
    Wish,
    looks_of,
    retrained_rows,
    unit,
)
from fedunlearn.results.frames import (
    Band,
    around,
    bands_in,
    bounds,
    direction,
    horizon,
    label,
)
from fedunlearn.results.plots.final_gaps import final_gaps
from fedunlearn.results.plots.request_tables import RequestTables
from fedunlearn.results.plots.style import FULL_WIDTH, PLOT_STYLE, within

PHASES = ("train", "unlearn", "recover")

RECOVERY: dict[str, Any] = {"linestyle": (0, PHASE_DASHES["recover"]), "markerfacecolor": "white"}
"""How recovery is told from unlearning."""

SHORT = 24
"""Up to so many characters, what a request is stands centred below its moment."""

ROOM = Bbox.from_extents(0, -0.1, 1, 1.1)
"""What of a line is shown, in shares of its panel: all of a mark that lies on the edge."""


def of_request(tables: RequestTables) -> Figure | None:
    """Return `forgetting` where there are panels to show and few strategies."""
    if tables.at_a_glance or not panels(tables.summary):
        return None
    return forgetting(tables.metrics, tables.summary, tables.verdicts, tables.owners)


def panels(summary: pd.DataFrame) -> list[str]:
    """Return the metrics to show: those with a panel that the retrained model has."""
    target = summary[summary["strategy"] == RETRAIN]
    named = [name for name, card in CARDS.items() if card.panel and name in summary]
    return [name for name in named if target[name].notna().any()]


@rc_context(PLOT_STYLE)
def forgetting(
    metrics: pd.DataFrame,
    summary: pd.DataFrame,
    verdicts: pd.DataFrame | None = None,
    owners: Mapping[int, str] = NOBODY_NAMED,
) -> Figure:
    """Draw metrics against rounds since a request, one line a strategy, next to retraining.

    ``summary`` holds the rows of that request. Thick lines are means over seeds, thin ones single
    seeds; the band of retrained models goes through the whole panel, as far as ``verdicts`` of the
    run say; None: as the usual margins do. Beside each panel stand its `final_gaps`.
    """
    request = int(summary["request"].iloc[0])
    curves = around(metrics, request)
    single = [around(rows, request) for _, rows in metrics.groupby("seed")]
    shown = panels(summary)
    bands = bands_in(summary, shown, verdicts)
    look = looks_of(summary["strategy"])
    rows = math.ceil(len(shown) / 2)
    figure = Figure(figsize=(FULL_WIDTH, 1.9 * rows + 0.5), layout="constrained")
    grid = figure.add_gridspec(rows, 4, width_ratios=[5, 2, 5, 2])
    for place, name in enumerate(shown):
        row, column = divmod(place, 2)
        axes, beside = (figure.add_subplot(grid[row, 2 * column + n]) for n in (0, 1))
        of_seeds = [lines[lines["metric"] == name] for lines in single]
        _strategies(axes, curves[curves["metric"] == name], of_seeds, look)
        _goal(axes, bands[name])
        _frame(axes, curves, name)
        _mark_request(axes, Wish.of(summary, owners).leaves)
        if f"{name}{GAP_SUFFIX}" in summary:
            final_gaps(beside, summary, name, look, bands[name])
        else:
            beside.axis("off")
        if place >= len(shown) - 2:
            axes.set_xlabel("Rounds since the request", labelpad=12)
    keys = _keys(curves, look, summary["seed"].nunique(), _retrained(summary, bands))
    if len(shown) % 2:
        free = figure.add_subplot(grid[rows - 1, 2:])
        free.axis("off")
        free.legend(handles=keys, loc="center left", ncols=2)
    else:
        _legend(figure, keys)
    return figure


def _strategies(
    axes: Axes, means: pd.DataFrame, seeds: list[pd.DataFrame], look: dict[str, Look]
) -> None:
    """Draw one metric's lines of each strategy, from the training that they share.

    Retraining comes last and is thinner than the others, so that it neither hides nor is hidden.
    """
    colours = {SHARED_TRAINING: GREY_COLOUR, **{name: its.colour for name, its in look.items()}}
    for strategy, colour in colours.items() if len(seeds) > 1 else ():
        parts = (rows[rows["strategy"] == strategy] for rows in seeds)
        segments = [segment for part in parts for segment in _segments(part)]
        thin = LineCollection(segments, colors=colour, linewidths=0.5, alpha=0.45)
        axes.add_collection(thin)
    _line(axes, means[means["strategy"] == SHARED_TRAINING], GREY_COLOUR, "")
    for strategy in sorted(look, key=lambda name: name == RETRAIN):
        its, mine = look[strategy], means[means["strategy"] == strategy]
        _line(axes, mine, its.colour, its.marker, width=0.9 if strategy == RETRAIN else 1.6)


def _segments(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the points of training, and of what followed the request, where there are two."""
    for _, part in rows.groupby(rows["phase"] == "train", sort=False):
        if len(part) > 1:
            yield part[["x", "mean"]].sort_values("x", kind="stable")


def _legend(figure: Figure, keys: list[Artist]) -> None:
    """Put the legend above the panels, in as many columns as there is room for."""
    for columns in range(6, 0, -1):
        even = math.ceil(len(keys) / math.ceil(len(keys) / columns))
        legend = figure.legend(handles=keys, loc="outside upper left", ncols=even)
        if legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _line(axes: Axes, rows: pd.DataFrame, colour: str, marker: str, *, width: float = 1.6) -> None:
    """Draw training thin, unlearning up to a full marker, recovery dotted up to a hollow one."""
    training, unlearning, recovery = (rows[rows["phase"] == phase] for phase in PHASES)
    if len(recovery):
        recovery = pd.concat([unlearning.tail(1), recovery])
    for part, form in (
        (training, {"linewidth": 0.8}),
        (unlearning, {"marker": marker, "linewidth": width}),
        (recovery, {"marker": marker, "linewidth": width, **RECOVERY}),
    ):
        if len(part):
            (line,) = axes.plot(part["x"], part["mean"], color=colour, markevery=[-1], **form)
            line.set_clip_box(TransformedBbox(ROOM, axes.transAxes))


def _goal(axes: Axes, band: Band) -> None:
    """Draw where retrained models lie through the whole panel."""
    axes.axhspan(band.low, band.high, color=INK_COLOUR, alpha=0.12, linewidth=0)
    axes.axhline(band.mean, color=INK_COLOUR, linewidth=0.8, linestyle=(0, GOAL_DASHES))


def _frame(axes: Axes, curves: pd.DataFrame, name: str) -> None:
    """Set title, limits and ticks."""
    axes.set_title(label(name), pad=12)
    corner = (0, 1), (0, 3), "axes fraction", "offset points"
    axes.annotate(direction(name), *corner, color=GREY_COLOUR)
    axes.grid(axis="y")
    axes.set_xlim(curves["x"].min() - 0.4, horizon(curves) + 0.4)
    axes.set_ylim(within(*axes.get_ylim(), 0.03 * unit(name), bounds(name)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mark_request(axes: Axes, told: str) -> None:
    """Draw the moment of the request and say what it is below the axis."""
    axes.axvline(0, color=GREY_COLOUR, linewidth=0.8)
    beside = len(told) > SHORT
    note = axes.annotate(
        told, (0, 0), (-4 * beside, -14), ("data", "axes fraction"), "offset points",
        ha="left" if beside else "center", va="top", fontsize=7,
    )  # fmt: skip
    if beside:  # it may reach below the panel beside this one, but takes no width from it
        note.set_in_layout(False)
        axes.set_xlabel(" ", labelpad=2)


def _retrained(summary: pd.DataFrame, bands: Mapping[str, Band]) -> str:
    """Say what was shaded; nothing where one retrained model leaves nothing to shade."""
    far = " ± margin" if any(band.judged for band in bands.values()) else ""
    wide = any(band.high > band.low for band in bands.values())
    return f"retrained: {len(retrained_rows(summary))} models{far}" if wide else ""


def _keys(curves: pd.DataFrame, look: dict[str, Look], seeds: int, retrained: str) -> list[Artist]:
    """Return the entries of the legend."""
    last, end = horizon(curves), curves.loc[curves["strategy"] == RETRAIN, "x"].max()
    late = {RETRAIN: f"{RETRAIN} (until round {end})"} if end > last else {}
    keys: list[Artist] = [
        Line2D([], [], color=its.colour, marker=its.marker, label=late.get(name, name))
        for name, its in look.items()
    ]
    if (curves["phase"] == "recover").any():
        keys.append(Line2D([], [], color=GREY_COLOUR, marker="o", label="recovery", **RECOVERY))
    if seeds > 1:
        each = f"each of {seeds} seeds"
        keys.append(Line2D([], [], color=GREY_COLOUR, linewidth=0.5, label=each))
    if retrained:
        keys.append(Patch(color=GREY_COLOUR, alpha=0.3, linewidth=0, label=retrained))
    return keys
