"""How far from retraining each strategy ended: a narrow panel beside a metric's curves."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from fedunlearn.results import (
    GAP_SUFFIX,
    GOAL_DASHES,
    GREY_COLOUR,
    INK_COLOUR,
    MINUS_SIGN,
    Look,
    as_one_reference,
    unit,
)
from fedunlearn.results.frames import Band

NEAR = 0.01
"""Up to this gap, in the metric's own unit, the axis is linear; it is logarithmic beyond."""

GOAL = "retrained"
"""What stands at no gap."""


def final_gaps(
    axes: Axes, summary: pd.DataFrame, metric: str, look: Mapping[str, Look], band: Band
) -> None:
    """Draw each seed's gap as a dot and each strategy's mean gap as its mark, one beside another.

    ``summary`` holds the rows of one request; further references are marks of retraining. The axis
    is stretched around no gap (symlog), so that small ones can be told apart beside large ones.
    """
    near = NEAR * unit(metric)
    axes.axhspan(band.low - band.mean, band.high - band.mean, color=INK_COLOUR, alpha=0.12, lw=0)
    axes.axhline(0, color=INK_COLOUR, linewidth=0.8, linestyle=(0, GOAL_DASHES))
    gaps = unit(metric) * summary[f"{metric}{GAP_SUFFIX}"]
    names = as_one_reference(summary["strategy"])
    for place, (name, its) in enumerate(look.items()):
        mine = gaps[names == name].dropna()
        if len(mine) > 1:
            axes.plot([place] * len(mine), mine, "o", color=its.colour, ms=2, mew=0, alpha=0.5)
        if len(mine):
            axes.plot(
                place, mine.mean(), its.marker, color=its.colour, markersize=3.5, clip_on=False
            )
    most = max(2 * near, 1.25 * gaps.abs().max(), band.high - band.mean, band.mean - band.low)
    axes.set_yscale("symlog", linthresh=near, linscale=0.6)
    axes.set_ylim(-most, most)
    axes.set_xlim(-0.7, len(look) - 0.3)
    axes.xaxis.set_visible(False)
    _ticks(axes, near, most)
    axes.grid(axis="y")
    corner = (0, 1), (0, 3), "axes fraction", "offset points"
    axes.annotate("gap in the end", *corner, color=GREY_COLOUR)


def _ticks(axes: Axes, near: float, most: float) -> None:
    """Put ticks at the powers of ten from ``near`` to ``most`` on both sides of retraining."""
    steps = [near * 10**n for n in range(8) if near * 10**n <= most]
    places = [*(-step for step in reversed(steps)), 0.0, *steps]
    written = [f"{place:+g}".replace("-", MINUS_SIGN) if place else GOAL for place in places]
    axes.set_yticks(places, written)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.tick_right()
    axes.spines["left"].set_visible(False)
    axes.spines["right"].set_visible(True)
    axes.spines["bottom"].set_visible(False)
