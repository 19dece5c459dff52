"""Who was there when: a row a client, a column a round."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedunlearn.results import LEAVER_COLOUR, PLAIN_COLOUR, Run, called
from fedunlearn.results.frames import KINDS, membership
from fedunlearn.results.plots.style import FULL_WIDTH, PLOT_STYLE

MOST = 40
"""Of more clients only those are drawn to whom something happens."""

MARKS: Mapping[str, str] = MappingProxyType({"join": ">", "part": "o", "leave": "X"})
"""The mark of what happens to a client."""


@rc_context(PLOT_STYLE)
def memberships(run: Run) -> Figure | None:
    """Draw in which rounds clients took part, and what happened between them.

    None where clients are there from the start and leave with all records: other figures say that.
    """
    there = membership(run, MOST)
    if there is None:
        return None
    places = {client: place for place, client in enumerate(there.clients)}
    height = min(6.0, 0.17 * len(places) + 0.9)
    figure = Figure(figsize=(FULL_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    thick = min(4.0, 180 / len(places))
    axes.hlines(
        there.spans["client"].map(places), there.spans["first"] - 0.5, there.spans["last"] + 0.5,
        color=PLAIN_COLOUR, linewidth=thick, alpha=0.55,
    )  # fmt: skip
    for kind, mark in MARKS.items():
        mine = there.events[there.events["kind"] == kind]
        if len(mine):
            colour = PLAIN_COLOUR if kind == "join" else LEAVER_COLOUR
            axes.plot(
                mine["after"] + 0.5, mine["client"].map(places), mark, color=colour,
                label=KINDS[kind], clip_on=False, markeredgewidth=0.4, markeredgecolor="white",
                markersize=min(6.0, 2 + thick), zorder=3,
            )  # fmt: skip
    step = math.ceil(len(places) / 30)
    named = there.clients[::step]
    axes.set_yticks([places[client] for client in named], [called(c, run.owners) for c in named])
    axes.set_ylabel("Client")
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlim(0.5, there.rounds + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Training round")
    axes.set_title("Who took part when")
    figure.legend(loc="outside upper right", ncols=len(MARKS))
    return figure
