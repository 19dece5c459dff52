"""The figure of results against store bytes."""

from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.figures import save
from benchmarks.report import number
from fedunlearn.results import GREY_COLOUR
from fedunlearn.results.plots import FULL_WIDTH, PLOT_STYLE

COLOURS = {
    "float32": "#000000",
    "bfloat16": "#0072B2",
    "int8": "#009E73",
    "topk-0.1": "#E69F00",
    "topk-0.01": "#D55E00",
}
MARKERS = {"federaser": "o", "subtraction": "s"}
MEASURES = {
    "test_accuracy_gap": "test accuracy",
    "forget_accuracy_gap": "leaver's records",
}


@rc_context(PLOT_STYLE)
def draw(measured: pd.DataFrame, file: Path) -> None:
    """Draw a column an experiment and a row a measure: points from retraining, against bytes.

    Every dot is a mean over seeds, with the range of the seeds; the line joins the intervals of
    FedEraser, the longest at the left.
    """
    names = list(dict.fromkeys(measured["experiment"]))
    figure = Figure(figsize=(FULL_WIDTH, 1.0 + 1.9 * len(MEASURES)), layout="constrained")
    grid = figure.subplots(len(MEASURES), len(names), squeeze=False, sharex="col", sharey="row")
    for column, name in enumerate(names):
        rows = measured[measured["experiment"] == name]
        for row, (measure, label) in enumerate(MEASURES.items()):
            axes = grid[row, column]
            _panel(axes, rows, measure)
            if row == 0:
                axes.set_title(name.partition("_")[0])
            if column == 0:
                axes.set_ylabel(f"{label},\npoints from retraining")
            if row == len(MEASURES) - 1:
                axes.set_xlabel("MB stored (logarithmic)")
    handles = [Line2D([], [], color=c, marker="o", ms=4, label=e) for e, c in COLOURS.items()]
    handles += [
        Line2D([], [], color=GREY_COLOUR, marker="o", ms=4, label="FedEraser, intervals 4, 2, 1"),
        Line2D([], [], color=GREY_COLOUR, marker="s", ms=4, ls="", label="subtraction"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    save(figure, file)


def _panel(axes: Axes, rows: pd.DataFrame, measure: str) -> None:
    axes.axhline(0, color=GREY_COLOUR, lw=0.8, ls="--")
    for (encoding, strategy), held in rows.groupby(["encoding", "strategy"], sort=False):
        points = held.groupby("interval").agg(
            {"store_bytes": "mean", measure: ["mean", "min", "max"]}
        )
        x = points["store_bytes", "mean"] / 1e6
        middle, low, high = (100 * points[measure, each] for each in ("mean", "min", "max"))
        axes.errorbar(
            x,
            middle,
            yerr=[middle - low, high - middle],
            color=COLOURS[str(encoding)],
            marker=MARKERS[str(strategy)],
            ms=4,
            lw=1,
            elinewidth=0.7,
        )
    axes.set(xscale="log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid()
