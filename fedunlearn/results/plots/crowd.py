"""Many strategies at a glance: a row each, right after unlearning and after recovery."""

from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fedunlearn.results import (
    CARDS,
    GAP_SUFFIX,
    GOAL_DASHES,
    GREY_COLOUR,
    INK_COLOUR,
    LEAVER_COLOUR,
    PLAIN_COLOUR,
    RETRAIN,
    is_reference,
    unit,
)
from fedunlearn.results.frames import Band, Spread, bands_in, bounds, direction, probe
from fedunlearn.results.plots.against_rounds import panels
from fedunlearn.results.plots.request_tables import RequestTables
from fedunlearn.results.plots.style import FULL_WIDTH, PLOT_STYLE, within


def of_request(tables: RequestTables) -> Figure | None:
    """Return `overview` where there are many strategies."""
    if not tables.at_a_glance:
        return None
    return overview(tables.metrics, tables.summary, tables.verdicts)


def ends(metrics: pd.DataFrame, request: int) -> pd.DataFrame:
    """Return ``strategy, phase, metric, mean, sd``: where each phase of a request ended.

    Phases are ``unlearn`` and ``recover``; spreads are sample standard deviations over seeds.
    """
    served = metrics[(metrics["request"] == request) & (metrics["phase"] != "train")]
    keys = ["seed", "strategy", "phase"]
    last = served["round"] == served.groupby(keys)["round"].transform("max")
    values = served[last].assign(value=lambda rows: rows["value"] * rows["metric"].map(unit))
    spread = values.groupby(["strategy", "phase", "metric"])["value"]
    return spread.agg(mean="mean", sd="std").fillna({"sd": 0.0}).reset_index()


def by_success(summary: pd.DataFrame) -> list[str]:
    """Return the strategies, best first: nearest to retraining in what is left of the leaver.

    Nearness is ``|value - retrained|`` in attack success, or in the accuracy on the leaver's
    records where no probe took, plus the test accuracy lost; retraining comes before all.
    """
    distance = summary[f"{probe(summary)}{GAP_SUFFIX}"].abs()
    lost = (-summary[f"test_accuracy{GAP_SUFFIX}"]).clip(lower=0)
    score = (distance + lost).groupby(summary["strategy"]).mean()
    return [RETRAIN, *(name for name in score.sort_values().index if not is_reference(name))]


@rc_context(PLOT_STYLE)
def overview(
    metrics: pd.DataFrame, summary: pd.DataFrame, verdicts: pd.DataFrame | None = None
) -> Figure:
    """Draw a row a strategy, best first: hollow right after unlearning, full after recovery.

    ``summary`` holds the rows of one request. Marks are means over seeds, bars a standard
    deviation to either side; the band is where retrained models lie, as in `forgetting`.
    """
    before_after = ends(metrics, int(summary["request"].iloc[0]))
    names = by_success(summary)
    shown = [name for name in panels(summary) if CARDS[name].title]
    bands = bands_in(summary, shown, verdicts)
    figure = Figure(figsize=(FULL_WIDTH, 0.155 * len(names) + 1.0), layout="constrained")
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    recovered = bool((before_after["phase"] == "recover").any())
    for axes, metric in zip(grid, shown, strict=True):
        _band(axes, bands[metric])
        rows = before_after[before_after["metric"] == metric].set_index(["strategy", "phase"])
        for place, name in enumerate(names):
            _pair(axes, rows, name, place)
        axes.set_title(CARDS[metric].title, pad=11)
        corner = (0, 1), (0, 3), "axes fraction", "offset points"
        axes.annotate(direction(metric), *corner, color=GREY_COLOUR)
        axes.grid(axis="both")
        axes.margins(x=0.06, y=0.02)
        left, right = axes.get_xlim()
        axes.set_xlim(within(left, right, 0, bounds(metric)))
        axes.tick_params(left=False)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].invert_yaxis()
    figure.legend(handles=_keys(recovered), loc="outside upper left", ncols=3)
    return figure


def _keys(recovered: bool) -> list[Artist]:
    """Return the entries of the legend."""
    dot: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4}
    retrained = Patch(color=GREY_COLOUR, alpha=0.3, linewidth=0, label="retrained models")
    if not recovered:
        return [Line2D([], [], color=PLAIN_COLOUR, label="unlearned", **dot), retrained]
    hollow = {**dot, "color": LEAVER_COLOUR, "markerfacecolor": "white"}
    return [
        Line2D([], [], label="right after unlearning", **hollow),
        Line2D([], [], color=PLAIN_COLOUR, label="after recovery", **dot),
        retrained,
    ]


def _band(axes: Axes, band: Band) -> None:
    """Mark where retrained models lie, from top to bottom."""
    axes.axvspan(band.low, band.high, color=INK_COLOUR, alpha=0.12, linewidth=0)
    axes.axvline(band.mean, color=INK_COLOUR, linewidth=0.8, linestyle=(0, GOAL_DASHES))


def _pair(axes: Axes, rows: pd.DataFrame, name: str, place: int) -> None:
    """Draw both ends of one strategy, joined by a line: the way that recovery took."""
    before, after = (
        Spread(*rows.loc[(name, phase), ["mean", "sd"]]) if (name, phase) in rows.index else None
        for phase in ("unlearn", "recover")
    )
    if before is not None and after is not None:
        axes.plot(
            [before.mean, after.mean], [place, place], color=GREY_COLOUR, linewidth=0.6, zorder=2
        )
        _mark(axes, before, place, LEAVER_COLOUR, "white")
    last = after or before
    if last is not None:
        _mark(axes, last, place, PLAIN_COLOUR, PLAIN_COLOUR)


def _mark(axes: Axes, at: Spread, place: int, colour: str, face: str) -> None:
    form: dict[str, Any] = {"marker": "o", "markersize": 4, "markerfacecolor": face, "zorder": 3}
    spread = [[min(at.sd, at.mean)], [min(at.sd, 100 - at.mean)]]  # shares are 0 to 100 %
    form |= {"elinewidth": 1, "linestyle": "none", "clip_on": False}
    axes.errorbar(at.mean, place, xerr=spread, color=colour, **form)
