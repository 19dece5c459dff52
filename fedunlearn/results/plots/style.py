"""How figures look: sizes, type, and one colour and marker a strategy."""

from collections.abc import Iterable
from typing import Any

from fedunlearn.results import RETRAIN, in_order

WIDE, NARROW = 6.9, 3.3
"""Inches: two columns of a paper, and one."""

GREY, LEAVER = "#666666", "#D55E00"
"""The colours of what belongs to no strategy, and of marks at those who leave."""

STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": GREY,
    "ytick.color": GREY,
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

_KNOWN = {
    RETRAIN: ("#000000", "*"),
    "none": ("#7F7F7F", "X"),
    "finetune": ("#E69F00", "s"),
    "federaser": ("#0072B2", "o"),
    "fedaccum": ("#D55E00", "^"),
    "subtraction": ("#009E73", "v"),
}

_OTHERS = (("#CC79A7", "D"), ("#56B4E9", "P"), ("#8C6D00", "h"), ("#882255", "<"), ("#44AA99", ">"))


def looks(strategies: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each strategy, retraining first, the others as they come.

    Those that come with the package always look the same. The colours are those of Okabe and Ito
    and a few darker ones, which can be told apart without red or green.
    """
    names = in_order(strategies)
    strange = sorted(set(names) - set(_KNOWN))
    given = {name: _OTHERS[number % len(_OTHERS)] for number, name in enumerate(strange)}
    return {name: (_KNOWN | given)[name] for name in names}


def widened(low: float, high: float, least: float) -> tuple[float, float]:
    """Let an axis span ``least`` at least, so that small differences look small."""
    missing = max(0, least - (high - low)) / 2
    return low - missing, high + missing
