"""The figure of the history on disk: ours next to what it is held against, in four panels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import figures, report
from benchmarks.store_cases import (
    COLD,
    NEEDS,
    OPENED,
    PLAIN,
    RECORDER,
    REPLAY,
    TRAINING,
    WARM,
    WRITING,
    Size,
    Values,
)
from benchmarks.store_memory import LONGER, MEMORY, RECORDING, REPLAYING, lengths, named
from fedunlearn.results import GREY_COLOUR
from fedunlearn.results.plots import FULL_WIDTH, PLOT_STYLE

MORE, LESS = "MB/s; wanted: beyond the dashed line", "ms; wanted: short of the dashed line"
RATE, SLOWER = 0.6, 1.1
"""Wanted of the plain rate, and of a round's time without a history."""


def draw(values: Values, size: Size, file: Path) -> None:
    """Draw rates, a round's time and peak memory; a dashed line is where a bar should end."""
    reading = COLD if (COLD, PLAIN) in values else WARM
    bare, kept = NEEDS
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(FULL_WIDTH, 3.2), layout="constrained")
        (write, read), (round_, peak) = figure.subplots(2, 2)
        written = {"plain files": (WRITING, PLAIN), "recorder": (WRITING, RECORDER)}
        _panel(write, "Writing", MORE, _chosen(values, written), RATE)
        readers = {"plain files": PLAIN, "replay": REPLAY, "verified replay": OPENED}
        cases = {name: (reading, who) for name, who in readers.items()}
        _panel(read, reading.capitalize(), MORE, _chosen(values, cases), RATE)
        trained = {bare: (TRAINING, bare), kept: (TRAINING, kept)}
        title = f"A round of {size.clients:,} clients"
        _panel(round_, title, LESS, _chosen(values, trained), SLOWER)
        works = [(work, count) for work in (RECORDING, REPLAYING) for count in lengths(size.rounds)]
        taken = {named(*work): (MEMORY, named(*work)) for work in works}
        longest = report.number(size.nbytes * LONGER / 1e6)
        unit = f"MB above imports; the longer history has {longest}"
        _panel(peak, "Peak memory", unit, _chosen(values, taken))
    figures.save(figure, file)


def _chosen(values: Values, cases: Mapping[str, tuple[str, str]]) -> dict[str, Sequence[float]]:
    return {name: values[case] for name, case in cases.items()}


def _panel(
    axes: Axes,
    title: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    wanted: float | None = None,
) -> None:
    """Draw medians as bars and repetitions as dots; ``wanted`` is a multiple of the first bar."""
    for row, held in enumerate(values.values()):
        middle, colour = median(held), figures.OURS
        if wanted is not None and row == 0:
            colour = GREY_COLOUR
            axes.axvline(wanted * middle, color="black", ls="--", lw=0.8, zorder=0.5)
        axes.barh(row, middle, 0.6, color=colour)
        axes.plot(held, [row] * len(held), "o", color="black", ms=2, mew=0, alpha=0.5)
        number, behind = report.number(middle), {"color": "white", "pad": 0.5}
        axes.annotate(number, (max(held), row), (4, 0), bbox=behind, **figures.BESIDE)
    axes.set_yticks(range(len(values)), list(values))
    axes.set(title=title, xlabel=unit, ylim=(len(values) - 0.5, -0.5))
    axes.margins(x=0.18)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
