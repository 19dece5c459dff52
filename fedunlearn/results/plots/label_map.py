"""Who holds how many records of which label, and who leaves."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from fedunlearn.checks import short
from fedunlearn.results import LEAVER_COLOUR, NOBODY_NAMED
from fedunlearn.results.frames import LabelCounts, label_counts
from fedunlearn.results.plots.style import FULL_WIDTH, NARROW, PLOT_STYLE


@rc_context(PLOT_STYLE)
def labels(
    clients: pd.DataFrame, summary: pd.DataFrame, owners: Mapping[int, str] = NOBODY_NAMED
) -> Figure:
    """Draw how many records of each label every client trains on, and who leaves.

    The first seed is shown: unless ``split`` is set, every seed divides the records anew. An empty
    cell is zero.
    """
    label_table = label_counts(clients, summary, owners)
    names, numbers = list(label_table.counts.index), label_table.clients
    width = NARROW if len(numbers) <= 8 else FULL_WIDTH
    figure = Figure(figsize=(width, min(4.5, 0.17 * len(names) + 0.9)), layout="constrained")
    axes = figure.subplots()
    _draw_cells(figure, axes, label_table)
    step = math.ceil(len(names) / 25)
    axes.set_yticks(np.arange(0, len(names), step) + 0.5, names[::step])
    axes.set_ylabel("Label")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Training records (seed {label_table.seed})", pad=12)
    _mark_leavers(axes, numbers, label_table)
    return figure


def _draw_cells(figure: Figure, axes: Axes, labels: LabelCounts) -> None:
    """Draw a cell a client and label; where there are few, with their numbers in them."""
    table, clients, few = labels.counts, labels.clients, labels.few
    norm = PowerNorm(0.5, vmin=0, vmax=labels.most)  # shows small counts, too
    mesh = axes.pcolormesh(
        table.where(table > 0), cmap="Blues", norm=norm, edgecolors="white",
        linewidth=0.5 if few else 0, rasterized=table.size > 2000,
    )  # fmt: skip
    if few:
        _write_counts(axes, table)
        totals = [f"{number}\n{total:.0f}" for number, total in table.sum().items()]
        axes.set_xticks(np.arange(len(clients)) + 0.5, totals)
        if labels.owners:
            _name_owners(axes, labels, totals)
        axes.set_xlabel("Client, and how many records it trains on")
    else:
        figure.colorbar(mesh, label="Records", pad=0.01, fraction=0.05)
        axes.set_xticks(np.arange(0, len(clients), 10) + 0.5, list(map(str, clients[::10])))
        axes.set_xlabel("Client")


def _name_owners(axes: Axes, labels: LabelCounts, totals: Sequence[str]) -> None:
    """Write owners below their clients' numbers, upright where there are few of them."""
    names = [short(labels.owners.get(client, ""), 18) for client in labels.clients]
    told = [f"{total}\n{name}" for total, name in zip(totals, names, strict=True)]
    crowded = len(names) > 6
    told = [text.replace("\n", "  ") for text in told] if crowded else told
    axes.set_xticks(axes.get_xticks(), told, rotation=90 if crowded else 0)


def _write_counts(axes: Axes, table: pd.DataFrame) -> None:
    dark = 0.4 * table.to_numpy().max()
    for (row, column), count in np.ndenumerate(table.to_numpy()):
        if count:
            colour = "white" if count > dark else "black"
            place = (column + 0.5, row + 0.5)
            axes.text(*place, f"{count:.0f}", color=colour, ha="center", va="center")


def _mark_leavers(axes: Axes, numbers: list[int], labels: LabelCounts) -> None:
    """Point at the columns of those who ask, and say for what."""
    if not labels.leavers:
        return
    places = [place + 0.5 for place, client in enumerate(numbers) if client in labels.leavers]
    axes.plot(
        places, [1.02] * len(places), "v", color=LEAVER_COLOUR, clip_on=False,
        transform=axes.get_xaxis_transform(), label=labels.asked.leaves,
    )  # fmt: skip
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.03), borderpad=0, handletextpad=0.2)
