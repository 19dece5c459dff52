"""Which clients are hard to forget, and which proxy would have known."""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedunlearn.results import (
    GREY_COLOUR,
    INK_COLOUR,
    LEAVER_COLOUR,
    PLAIN_COLOUR,
    PROXY_NAMES,
    TRUTH,
)
from fedunlearn.results.plots.style import FULL_WIDTH, PLOT_STYLE

NAMED = 3
"""Clients whose number stands at their mark: the most memorised."""


@rc_context(PLOT_STYLE)
def difficulty(clients: pd.DataFrame, proxies: pd.DataFrame) -> Figure:
    """Draw each client's memorization against its entanglement, and the proxies as bars.

    ``clients`` are the rows of difficulty.csv, ``proxies`` those of difficulty_proxies.csv. Where
    there is no entanglement, clients stand by their number of records.
    """
    figure = Figure(figsize=(FULL_WIDTH, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _clients(left, clients)
    _proxies(right, proxies)
    return figure


def _clients(axes: Axes, clients: pd.DataFrame) -> None:
    entangled = bool(clients["entanglement"].notna().any())
    across = clients["entanglement" if entangled else "records"]
    names = clients["memorization"].nlargest(NAMED).index
    colours = [LEAVER_COLOUR if row in names else PLAIN_COLOUR for row in clients.index]
    errors = 1.96 * clients["memorization_se"]
    axes.errorbar(
        *(across, clients["memorization"], errors),
        fmt="none",
        ecolor=GREY_COLOUR,
        elinewidth=0.6,
        alpha=0.6,
    )
    axes.scatter(across, clients["memorization"], s=14, c=colours, zorder=3)
    for row in names:
        axes.annotate(
            f"client {clients.loc[row, 'client']}",
            (float(across[row]), float(clients.loc[row, "memorization"])),
            (5, 2),
            textcoords="offset points",
            fontsize=6.5,
            color=LEAVER_COLOUR,
        )
    if entangled and across.max() > 20 * across.min() > 0:
        axes.set_xscale("log")
    axes.axhline(0, color=GREY_COLOUR, lw=0.6, ls=(0, (2, 2)))
    axes.grid(visible=True)
    axes.margins(x=0.14)
    axes.set_title("Who is hard to forget?")
    axes.set_ylabel("memorization, 95 % interval")
    axes.set_xlabel("entanglement with the rest" if entangled else "records")


def _proxies(axes: Axes, proxies: pd.DataFrame) -> None:
    """Draw how well each proxy ranks records, turned so that longer is better."""
    rows = proxies[(proxies["measure"] != TRUTH) & proxies["spearman"].notna()].copy()
    sides = rows[["low", "high"]].mul(rows["sign"], axis=0)
    rows = rows.assign(
        size=rows["sign"] * rows["spearman"], least=sides.min(axis=1), most=sides.max(axis=1)
    ).sort_values("size")
    labels = [PROXY_NAMES[name] for name in rows["measure"]]
    reach = np.stack([rows["size"] - rows["least"], rows["most"] - rows["size"]]).clip(0)
    axes.barh(labels, rows["size"], color=PLAIN_COLOUR, height=0.6)
    axes.errorbar(rows["size"], labels, xerr=reach, fmt="none", ecolor=INK_COLOUR, elinewidth=0.8)
    best = float(proxies.loc[proxies["measure"] == TRUTH, "spearman"].iloc[0])
    if best > 0:
        axes.axvline(best, color=GREY_COLOUR, lw=0.9, ls=(0, (5, 3)))
        axes.annotate(
            "a perfect proxy",
            (best, len(rows) - 0.45),
            (-3, 0),
            textcoords="offset points",
            ha="right",
            fontsize=6.5,
            color=GREY_COLOUR,
        )
    axes.set_xlim(min(0.0, float(rows["least"].min()) - 0.05) if len(rows) else 0.0, 1)
    axes.set_ylim(-0.6, len(rows) - 0.1)
    axes.tick_params(left=False)
    axes.grid(visible=True, axis="x")
    axes.set_title("Which proxy would have known?")
    axes.set_xlabel("rank correlation with memorization")
