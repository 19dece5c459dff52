"""A stream of requests: who waits and how good the models are, and how long forgetting takes."""

from collections.abc import Iterator

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from fedunlearn.results import (
    GREY_COLOUR,
    INK_COLOUR,
    PLAIN_COLOUR,
    RETRAIN,
    further_references,
    in_order,
    looks_of,
)
from fedunlearn.results.frames import accuracy_over_stream, backlog
from fedunlearn.results.plots.style import FULL_WIDTH, PLOT_STYLE


def of_stream(metrics: pd.DataFrame, requests: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of a stream by name."""
    requests = requests[~further_references(requests)]
    yield "stream", stream(metrics, requests)
    yield "time_to_forget", time_to_forget(requests)


@rc_context(PLOT_STYLE)
def stream(metrics: pd.DataFrame, requests: pd.DataFrame) -> Figure:
    """Draw who waits, and below it test accuracy, a line a strategy, both against rounds.

    Where a line falls straight down, a request was served. Means over seeds.
    """
    points = accuracy_over_stream(metrics)
    names = in_order(points["strategy"])
    look = looks_of(names)
    figure = Figure(figsize=(FULL_WIDTH, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    waiting = backlog(requests)
    last = max(points["round"].max(), waiting["at"].max())
    at, count = [*waiting["at"], last], [*waiting["waiting"], waiting["waiting"].iloc[-1]]
    above.step(at, count, where="post", color=PLAIN_COLOUR, linewidth=1)
    above.fill_between(at, count, step="post", color=PLAIN_COLOUR, alpha=0.2, linewidth=0)
    above.set_title("Requests that wait")
    above.set_ylim(bottom=0)
    above.yaxis.get_major_locator().set_params(integer=True)
    for name in [*names[1:], *names[:1]]:  # retraining on top
        mine = points[points["strategy"] == name].sort_values("step")
        below.plot(
            mine["round"],
            mine["value"],
            color=look[name].colour,
            linewidth=1.6 if name == RETRAIN else 1,
            alpha=1 if name == RETRAIN else 0.85,
            label=name,
        )
    below.set_title("Test accuracy (%)")
    below.set_xlabel("Training round")
    for axes in (above, below):
        axes.grid(axis="y")
    handles, labels = below.get_legend_handles_labels()
    order = [labels.index(name) for name in names]
    figure.legend(
        [handles[n] for n in order],
        names,
        loc="outside lower center",
        ncols=min(6, len(names)),
    )
    return figure


@rc_context(PLOT_STYLE)
def time_to_forget(requests: pd.DataFrame) -> Figure:
    """Draw from asking to being forgotten in rounds, a mark a request and its client, by strategy.

    The bar is the mean. Seeds are drawn alike.
    """
    names = in_order(requests["strategy"])
    look = looks_of(names)
    figure = Figure(figsize=(FULL_WIDTH, 0.3 * len(names) + 0.75), layout="constrained")
    axes = figure.subplots()
    for row, name in enumerate(names):
        mine = requests[requests["strategy"] == name]
        axes.scatter(
            mine["rounds_to_forget"],
            [row] * len(mine),
            s=12,
            color=look[name].colour,
            alpha=0.35,
            linewidth=0,
        )
        mean = mine["rounds_to_forget"].mean()
        axes.plot([mean, mean], [row - 0.32, row + 0.32], color=INK_COLOUR, linewidth=1.5)
    waited = requests["waited"].mean()
    axes.axvline(waited, color=GREY_COLOUR, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.tick_params(left=False)
    axes.set_title("Time to forget")
    axes.set_xlabel("Rounds from asking to being forgotten; bar: mean; dashed: mean wait before it")
    return figure
