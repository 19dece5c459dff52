"""A stream of requests: who waits and how good the models are, and how long forgetting takes."""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedunlearn.results import (
    GREY_COLOUR,
    INK_COLOUR,
    PLAIN_COLOUR,
    RETRAIN,
    SECONDS,
    further_references,
    in_order,
    largest_unit,
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

    Beside it stands the same in modelled seconds, where requests have them. The bar is the mean.
    Seeds are drawn alike.
    """
    names = in_order(requests["strategy"])
    timed = SECONDS in requests
    figure = Figure(figsize=(FULL_WIDTH, 0.3 * len(names) + 0.75), layout="constrained")
    panels = figure.subplots(1, 1 + timed, sharey=True, squeeze=False)[0]
    _marks(panels[0], requests, names, "rounds_to_forget", 1.0)
    waited = requests["waited"].mean()
    panels[0].axvline(waited, color=GREY_COLOUR, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    panels[0].set_title("Time to forget")
    panels[0].set_xlabel(
        "Rounds from asking; bar: mean; dashed: wait"
        if timed
        else "Rounds from asking to being forgotten; bar: mean; dashed: mean wait before it"
    )
    if timed:
        unit, size = largest_unit(requests[SECONDS].max())
        _marks(panels[1], requests, names, SECONDS, size)
        panels[1].set_title("On the configured devices")
        panels[1].set_xlabel(f"Time from asking ({unit})")
    return figure


def _marks(
    axes: Axes, requests: pd.DataFrame, names: Sequence[str], column: str, size: float
) -> None:
    """Draw a row of marks a strategy, and their mean; ``size`` is that of the unit."""
    look = looks_of(names)
    for row, name in enumerate(names):
        values = requests.loc[requests["strategy"] == name, column] / size
        at = [row] * len(values)
        axes.scatter(values, at, s=12, color=look[name].colour, alpha=0.35, linewidth=0)
        mean = values.mean()
        axes.plot([mean, mean], [row - 0.32, row + 0.32], color=INK_COLOUR, linewidth=1.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.tick_params(left=False)
