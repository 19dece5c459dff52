"""What a request cost with each strategy, as bars."""

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from fedunlearn.results import PLAIN_COLOUR, RETRAIN, amount, looks_of
from fedunlearn.results.plots.request_tables import RequestTables, crowded
from fedunlearn.results.plots.style import FULL_WIDTH, PLOT_STYLE


def of_request(tables: RequestTables) -> Figure:
    """Return `cost`."""
    return cost(tables.summary)


@rc_context(PLOT_STYLE)
def cost(summary: pd.DataFrame) -> Figure:
    """Draw what a request cost: client epochs, bytes sent, bytes stored; means over seeds.

    ``summary`` holds the rows of that request. Scales with a wide range are logarithmic.
    """
    look = looks_of(summary["strategy"])
    alike = crowded(summary)  # more than there are colours
    colours = [PLAIN_COLOUR if alike and n != RETRAIN else its.colour for n, its in look.items()]
    costs = {
        "Client epochs": summary["client_epochs"],
        "Sent (MB)": (summary["bytes_down"] + summary["bytes_up"]) / 1e6,
        "Stored (MB)": summary["store_bytes"] / 1e6,
    }
    figure = Figure(figsize=(FULL_WIDTH, 0.19 * len(look) + 0.45), layout="constrained")
    panels = figure.subplots(1, len(costs), sharey=True)
    for axes, (title, values) in zip(panels, costs.items(), strict=True):
        means = values.groupby(summary["strategy"]).mean()[list(look)]
        paid = means[means > 0]
        logarithmic = len(paid) > 0 and paid.max() > 1000 * paid.min()
        start = paid.min() / 2 if logarithmic else 0.0
        lengths = (means - start).clip(lower=0)
        axes.barh(list(look), lengths, left=start, color=colours)
        for row, value in enumerate(means):
            end = (max(value, start), row)
            axes.annotate(amount(value), end, (3, 0), textcoords="offset points", va="center")
        if logarithmic:
            axes.set_xscale("log")
        axes.set_title(f"{title}, log scale" if logarithmic else title)
        axes.margins(x=0.2)
        axes.set_xlim(left=start)
        axes.xaxis.set_visible(False)
        axes.tick_params(left=False)
        axes.spines["bottom"].set_visible(False)
    panels[0].invert_yaxis()
    return figure
