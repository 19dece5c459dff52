"""How figures look: sizes and type; colours and marks are those of `looks_of`."""

from typing import Any

from fedunlearn.results import GREY_COLOUR

FULL_WIDTH, NARROW = 6.9, 3.3
"""Inches: two columns of a paper, and one."""

PLOT_STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY_COLOUR,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": GREY_COLOUR,
    "ytick.color": GREY_COLOUR,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "fedunlearn",
}
"""matplotlib's settings; text in SVG stays text, and its ids are the same in every drawing."""


def within(low: float, high: float, least: float, ends: tuple[float, float]) -> tuple[float, float]:
    """Return an axis as `widened` does, moved and cut so that it ends where its values do."""
    low, high = widened(low, high, least)
    high = min(max(high, ends[0] + least), ends[1])
    low = max(min(low, high - least), ends[0])
    return low, high


def widened(low: float, high: float, least: float) -> tuple[float, float]:
    """Let an axis span ``least`` at least, so that small differences look small."""
    missing = max(0, least - (high - low)) / 2
    return low - missing, high + missing
