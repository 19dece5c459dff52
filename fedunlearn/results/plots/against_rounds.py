"""How metrics went on after a request: one panel a metric, one line a strategy."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fedunlearn.results import (
    CARDS,
    GOAL_DASHES,
    GREY_COLOUR,
    INK_COLOUR,
    PHASE_DASHES,
    RETRAIN,
    SHARED_TRAINING,
    Look,
    leave,
    looks_of,
    retrained_rows,
    unit,
    who,
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
from fedunlearn.results.plots.request_tables import RequestTables
from fedunlearn.results.plots.style import FULL_WIDTH, PLOT_STYLE, widened

PHASES = ("train", "unlearn", "recover")

RECOVERY: dict[str, Any] = {"linestyle": (0, PHASE_DASHES["recover"]), "markerfacecolor": "white"}
"""How recovery is told from unlearning."""


def of_request(tables: RequestTables) -> Figure | None:
    """Return `forgetting` where there are panels to show and few strategies."""
    if tables.at_a_glance or not panels(tables.summary):
        return None
    return forgetting(tables.metrics, tables.summary, tables.verdicts)


def panels(summary: pd.DataFrame) -> list[str]:
    """Return the metrics to show: those with a panel that the retrained model has."""
    target = summary[summary["strategy"] == RETRAIN]
    named = [name for name, card in CARDS.items() if card.panel and name in summary]
    return [name for name in named if target[name].notna().any()]


@rc_context(PLOT_STYLE)
def forgetting(
    metrics: pd.DataFrame, summary: pd.DataFrame, verdicts: pd.DataFrame | None = None
) -> Figure:
    """Draw metrics against rounds since a request, one line a strategy, next to retraining.

    ``summary`` holds the rows of that request. Lines are means over seeds, shading is a standard
    deviation to either side; the band of retrained models goes through the whole panel, as far as
    ``verdicts`` of the run say; None: as the usual margins do.
    """
    curves = around(metrics, int(summary["request"].iloc[0]))
    shown = panels(summary)
    bands = bands_in(summary, shown, verdicts)
    look = looks_of(summary["strategy"])
    rows = math.ceil(len(shown) / 2)
    figure = Figure(figsize=(FULL_WIDTH, 1.9 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, name in zip(grid, shown, strict=False):
        lines = curves[curves["metric"] == name]
        _strategies(axes, lines, look, name)
        _goal(axes, bands[name])
        _frame(axes, curves, name)
        _mark_request(axes, who(summary["clients"].iloc[0]))
    for axes in grid[max(0, len(shown) - 2) : len(shown)]:
        axes.set_xlabel("Rounds since the request", labelpad=12)
    keys = _keys(curves, look, _spreads(summary, bands))
    if len(shown) % 2:
        grid[-1].axis("off")
        grid[-1].legend(handles=keys, loc="center left", ncols=2)
    else:
        _legend(figure, keys)
    return figure


def _strategies(axes: Axes, lines: pd.DataFrame, look: dict[str, Look], metric: str) -> None:
    """Draw one metric's line of each strategy, from the training that they share."""
    shared = lines[lines["strategy"] == SHARED_TRAINING]
    _line(axes, shared, GREY_COLOUR, "")
    _shade(axes, shared, GREY_COLOUR, metric)
    for strategy, its in look.items():
        mine = lines[lines["strategy"] == strategy]
        _line(axes, mine, its.colour, its.marker)
        if strategy != RETRAIN:  # its spread is that of the goal
            _shade(axes, mine, its.colour, metric)


def _legend(figure: Figure, keys: list[Artist]) -> None:
    """Put the legend above the panels, in as many columns as there is room for."""
    for columns in range(6, 0, -1):
        even = math.ceil(len(keys) / math.ceil(len(keys) / columns))
        legend = figure.legend(handles=keys, loc="outside upper left", ncols=even)
        if legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _line(axes: Axes, rows: pd.DataFrame, colour: str, marker: str) -> None:
    """Draw training thin, unlearning up to a full marker, recovery dotted up to a hollow one."""
    training, unlearning, recovery = (rows[rows["phase"] == phase] for phase in PHASES)
    if len(recovery):
        recovery = pd.concat([unlearning.tail(1), recovery])
    for part, form in (
        (training, {"linewidth": 0.8}),
        (unlearning, {"marker": marker}),
        (recovery, {"marker": marker, **RECOVERY}),
    ):
        if len(part):
            axes.plot(part["x"], part["mean"], color=colour, markevery=[-1], **form)


def _shade(axes: Axes, rows: pd.DataFrame, colour: str, metric: str) -> None:
    """Shade a standard deviation to either side of the mean, as far as there are such values."""
    for _, part in rows.groupby("phase"):
        if part["sd"].any():
            least, most = bounds(metric)
            low = (part["mean"] - part["sd"]).clip(least, most)
            high = (part["mean"] + part["sd"]).clip(least, most)
            axes.fill_between(part["x"], low, high, color=colour, alpha=0.15, linewidth=0)


def _goal(axes: Axes, band: Band) -> None:
    """Draw where retrained models lie through the whole panel, named at its end."""
    axes.axhspan(band.low, band.high, color=INK_COLOUR, alpha=0.12, linewidth=0)
    axes.axhline(band.mean, color=INK_COLOUR, linewidth=0.8, linestyle=(0, GOAL_DASHES))
    end = (1, band.mean), (3, 0), ("axes fraction", "data"), "offset points"
    axes.annotate("retrained", *end, va="center")


def _frame(axes: Axes, curves: pd.DataFrame, name: str) -> None:
    """Set title, limits and ticks."""
    axes.set_title(label(name), pad=12)
    corner = (0, 1), (0, 3), "axes fraction", "offset points"
    axes.annotate(direction(name), *corner, color=GREY_COLOUR)
    axes.grid(axis="y")
    axes.set_xlim(curves["x"].min() - 0.4, horizon(curves) + 0.4)
    axes.set_ylim(widened(*axes.get_ylim(), 0.03 * unit(name)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mark_request(axes: Axes, leavers: str) -> None:
    """Draw the moment of the request and name it below the axis."""
    axes.axvline(0, color=GREY_COLOUR, linewidth=0.8)
    axes.annotate(
        f"{leavers} {leave(leavers)}", (0, 0), (0, -14), ("data", "axes fraction"), "offset points",
        ha="center", va="top", fontsize=7,
    )  # fmt: skip


def _spreads(summary: pd.DataFrame, bands: Mapping[str, Band]) -> str:
    """Say what was shaded; nothing where one model each leaves nothing to shade."""
    seeds, retrained = summary["seed"].nunique(), len(retrained_rows(summary))
    strategies = f"± sd of {seeds} seeds" if seeds > 1 else ""
    wide = any(band.high > band.low for band in bands.values())
    far = " ± margin" if any(band.judged for band in bands.values()) else ""
    band = f"retrained: {retrained} models{far}" if wide else ""
    return "; ".join(filter(None, (strategies, band)))


def _keys(curves: pd.DataFrame, look: dict[str, Look], spreads: str) -> list[Artist]:
    """Return the entries of the legend."""
    last, end = horizon(curves), curves.loc[curves["strategy"] == RETRAIN, "x"].max()
    late = {RETRAIN: f"{RETRAIN} (until round {end})"} if end > last else {}
    keys: list[Artist] = [
        Line2D([], [], color=its.colour, marker=its.marker, label=late.get(name, name))
        for name, its in look.items()
    ]
    if (curves["phase"] == "recover").any():
        keys.append(Line2D([], [], color=GREY_COLOUR, marker="o", label="recovery", **RECOVERY))
    if spreads:
        keys.append(Patch(color=GREY_COLOUR, alpha=0.3, linewidth=0, label=spreads))
    return keys
