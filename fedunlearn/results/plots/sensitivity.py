"""What a swept setting does: forgetting, utility and bytes against its values."""

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fedunlearn.results import (
    CARDS,
    GOAL_DASHES,
    GREY_COLOUR,
    INK_COLOUR,
    MARKER_SHAPES,
    PALETTE,
    Look,
    card_or_plain,
    unit,
    unlearned_rows,
)
from fedunlearn.results.frames import (
    Spread,
    bounds,
    goal,
    numeric,
    probe,
    settings_of,
    varied,
    wide_range,
)
from fedunlearn.results.plots.style import FULL_WIDTH, PLOT_STYLE, within

FEW = 6
"""So many values are all named on the axis."""

EPOCHS, SENT, STORED = "Client epochs", "Sent (MB)", "Stored (MB)"

COSTS = (EPOCHS, SENT, STORED)

PANELS = 5
"""So many fit beside each other."""


def swept(index: pd.DataFrame) -> pd.DataFrame:
    """Return the settings that differ between the runs of ``index``, a column each, a row a row.

    Settings are read from the column ``overrides``. Numbers become numbers. The setting with the
    most different values comes first.
    """
    pairs = [settings_of(text.split()) for text in index["overrides"]]
    settings = pd.DataFrame(pairs, index=index.index)
    columns = {name: settings[name] for name in varied(settings)}
    numbers = {name: numeric(values) for name, values in columns.items()}
    return pd.DataFrame(
        {name: columns[name] if held is None else held for name, held in numbers.items()},
        index=index.index,
    )


@rc_context(PLOT_STYLE)
def sensitivity(index: pd.DataFrame) -> Figure | None:
    """Draw forgetting, utility and bytes against a swept number, a line a value of the others.

    ``index`` holds the rows of a multirun's index.csv for one request. Marks are means over seeds,
    bars a standard deviation to either side; the band is what retraining reached. Returns None
    where no number was swept.
    """
    rows = unlearned_rows(index)
    settings = swept(rows)
    numbers = [name for name in map(str, settings) if pd.api.types.is_numeric_dtype(settings[name])]
    if not numbers or rows.empty:
        return None
    x, others = numbers[0], [name for name in map(str, settings) if name != numbers[0]]
    table = rows.assign(
        **{name: settings[name] for name in others},
        x=settings[x],
        line=settings[others].apply(lambda row: _line_name(others, row), axis=1) if others else "",
    )
    table = table.sort_values([*others, "x"], kind="stable")
    table[SENT] = (table["bytes_down"] + table["bytes_up"]) / 1e6
    table[STORED] = table["store_bytes"] / 1e6
    table[EPOCHS] = table["client_epochs"]
    costs = [name for name in COSTS if table[name].nunique() > 1]
    costs = costs or [str(table[[SENT, STORED]].mean().idxmax())]
    measured = [probe(index), "test_accuracy", "forget_accuracy"][: PANELS - len(costs)]
    shown = [name for name in dict.fromkeys([*measured, *costs]) if name in table]
    figure = Figure(figsize=(FULL_WIDTH, 2.3), layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, name in zip(grid, shown, strict=True):
        factor = 1 if name in COSTS else unit(name)
        most = bounds(name)[1] if name in CARDS else math.inf
        _lines(axes, table.assign(y=factor * table[name]), most)
        if name in CARDS:
            _band(axes, goal(index, name))
        _frame(axes, name, x, sorted(table["x"].unique()))
    handles, labels = grid[0].get_legend_handles_labels()
    handles.append(Patch(color=GREY_COLOUR, alpha=0.3, linewidth=0))
    labels.append("retrained ± sd")
    named = labels[0] != ""  # one line alone needs no name
    figure.legend(
        handles if named else handles[-1:],
        labels if named else labels[-1:],
        loc="outside upper left",
        ncols=5,
    )
    return figure


def _line_name(names: Sequence[str], row: pd.Series) -> str:
    return ", ".join(f"{_short(name)} {row[name]}" for name in names)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _lines(axes: Axes, table: pd.DataFrame, most: float) -> None:
    """Draw means over seeds, and a standard deviation to either side, up to ``most``."""
    for number, (name, rows) in enumerate(table.groupby("line", sort=False)):
        look = Look(PALETTE[number % len(PALETTE)], MARKER_SHAPES[number % len(MARKER_SHAPES)])
        held = [(float(value), Spread.of(each["y"])) for value, each in rows.groupby("x")]  # type: ignore[arg-type]
        axes.errorbar(
            [value for value, _ in held],
            [at.mean for _, at in held],
            yerr=[
                [min(at.sd, at.mean) for _, at in held],
                [min(at.sd, most - at.mean) for _, at in held],
            ],
            color=look.colour,
            marker=look.marker,
            elinewidth=0.8,
            clip_on=False,
            label=str(name),
        )


def _band(axes: Axes, reached: Spread) -> None:
    low, high = reached.mean - reached.sd, reached.mean + reached.sd
    axes.axhspan(low, high, color=INK_COLOUR, alpha=0.12, linewidth=0)
    axes.axhline(reached.mean, color=INK_COLOUR, linewidth=0.8, linestyle=(0, GOAL_DASHES))


def _frame(axes: Axes, name: str, x: str, values: Sequence[float]) -> None:
    axes.set_title(name if name in COSTS else card_or_plain(name).title or name)
    axes.set_xlabel(_short(x))
    axes.grid(axis="y")
    positive = [value for value in values if value > 0]
    if wide_range(values):
        # Zero has no place on a logarithmic axis: it gets one of its own, left of all others.
        if 0 in values:
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
        else:
            axes.set_xscale("log")
        first, last = (math.log10(value) for value in (min(positive), max(values)))
        ticks = [10.0**n for n in range(math.ceil(first), math.floor(last) + 1)]
        axes.set_xticks([*([0.0] if 0 in values else []), *ticks])
        axes.minorticks_off()
    if len(values) <= FEW:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    if name in COSTS:
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    else:
        axes.set_ylim(within(*axes.get_ylim(), 0, bounds(name)))
