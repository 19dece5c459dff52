"""The figures of the benchmarks."""

from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from statistics import median

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.report import number
from fedunlearn.results import GREY_COLOUR
from fedunlearn.results.plots import FULL_WIDTH, PLOT_STYLE

OURS, PART, RIVAL, MARK = "#0072B2", "#56B4E9", "#E69F00", "#000000"
COLOURS = {"auto": OURS, "fedunlearn": OURS, "cohort": PART, "workers": PART}
COLOURS |= {"Flower Ray": RIVAL, "ceiling": MARK}
LABELS = {name: f"fedunlearn, {name}" for name in ("auto", "cohort", "workers")}
BESIDE = {"textcoords": "offset points", "va": "center"}

Values = Mapping[str, Sequence[float]]
"""Of each contender: what every repetition gave."""


@rc_context(PLOT_STYLE)
def dots(panels: Mapping[str, Values], label: str) -> Figure:
    """Draw a panel a workload and a row a contender, on logarithmic axes.

    All axes span as many decades, so that a length means the same factor everywhere.
    """
    columns = min(3, len(panels))
    below = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for values in panels.values() for name in values))
    size = (
        FULL_WIDTH if columns > 1 else FULL_WIDTH / 1.6,
        0.35 + below * (0.45 + 0.19 * len(names)),
    )
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(below, columns, squeeze=False, sharey=True)
    decades = 0.7 + max(log10(_most(values) / _least(values)) for values in panels.values())
    for axes, (title, values) in zip(grid.flat, panels.items(), strict=False):
        for name, held in values.items():
            _row(axes, names.index(name), name, held)
        low = _least(values) / 10**0.1
        axes.set(title=title, xscale="log", xlim=(low, low * 10**decades))
        axes.set_yticks(range(len(names)), [LABELS.get(name, name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.xaxis.set_major_locator(LogLocator(numticks=12))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel(f"{label} (logarithmic)", fontsize=7.5)
    return figure


def _row(axes: Axes, row: int, name: str, held: Sequence[float]) -> None:
    """Draw a dot for the median, a faint one for each repetition, and the median's number."""
    colour, middle = COLOURS.get(name, GREY_COLOUR), median(held)
    axes.plot(held, [row] * len(held), "o", color=colour, ms=3, mew=0, alpha=0.35)
    axes.plot(middle, row, "D" if name == "ceiling" else "o", color=colour, ms=4.5)
    weight = "bold" if colour == OURS else "normal"
    axes.annotate(short(middle), (max(held), row), (5, 0), fontsize=6.5, weight=weight, **BESIDE)


def _most(values: Values) -> float:
    return max(max(held) for held in values.values())


def _least(values: Values) -> float:
    return min(min(held) for held in values.values())


@rc_context(PLOT_STYLE)
def lines(series: Mapping[str, Mapping[int, Sequence[float]]], x: str, y: str) -> Figure:
    """Draw medians against a count, both axes logarithmic."""
    figure = Figure(figsize=(FULL_WIDTH / 1.6, 2.6), layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        who, _, which = name.partition(", ")
        style = "o--" if which.startswith("some") else "o-"
        values = [median(held) for held in points.values()]
        axes.plot(list(points), values, style, color=COLOURS.get(who, GREY_COLOUR), label=name)
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.grid()
    axes.legend()
    return figure


@rc_context(PLOT_STYLE)
def bars(values: Values, label: str) -> Figure:
    """Draw medians as bars from zero, with their numbers."""
    figure = Figure(figsize=(FULL_WIDTH / 1.3, 0.6 + 0.3 * len(values)), layout="constrained")
    axes = figure.subplots()
    for row, (name, held) in enumerate(values.items()):
        middle = median(held)
        axes.barh(row, middle, 0.6, color=COLOURS.get(name.partition(",")[0], GREY_COLOUR))
        axes.annotate(number(middle), (middle, row), (4, 0), **BESIDE)
    axes.set_yticks(range(len(values)), [LABELS.get(name, name) for name in values])
    axes.set(xlabel=label, ylim=(len(values) - 0.5, -0.5))
    axes.margins(x=0.12)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return figure


def short(value: float) -> str:
    """Write a number in little space."""
    if value >= 1e6:
        return f"{number(value / 1e6)}M"
    return f"{number(value / 1e3)}k" if value >= 1e4 else number(value)


def save(figure: Figure, file: Path) -> None:
    """Write a figure in the format that the file's ending names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(PLOT_STYLE):
        figure.savefig(file)
