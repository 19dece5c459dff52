"""Time to forget on other devices, and after how many requests a strategy pays off."""

import math
from collections.abc import Sequence

import pandas as pd

from fedunlearn.results import RETRAIN, Run, span
from fedunlearn.results.costing import break_even, costs_table
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table, with_best
from fedunlearn.results.report.evidence import Declared


def spans(run: Run, declared: Declared, order: Sequence[str]) -> list[Table]:
    """Return the table of times and that of requests until it pays; none without devices."""
    if not declared.devices:
        return []
    return [times(run, declared, order), pays(run, declared, order)]


def times(run: Run, declared: Declared, order: Sequence[str]) -> Table:
    """Return how long the last request takes with each strategy: a column a kind of devices."""
    rows = {name: [Cell(name)] for name in (RETRAIN, *order)}
    for devices in declared.devices.values():
        costs = costs_table(run, devices)
        last = costs[costs["request"] == costs["request"].max()].set_index("strategy")
        for name, cell in zip(rows, _best(last, list(rows)), strict=True):
            rows[name].append(cell)
            rows[name].append(Cell(_share(last, name)))
    headings = [word for name in declared.devices for word in (name, "of retraining's")]
    return Table(
        name="times",
        caption="Time to serve the last request, recovery included",
        headings=("Strategy", *headings),
        rows=tuple(tuple(cells) for cells in rows.values()),
        notes=("Means over seeds and draws of devices, whose speeds are in conf/devices.",),
    )


def pays(run: Run, declared: Declared, order: Sequence[str]) -> Table:
    """Return after how many requests each strategy is cheaper than retraining."""
    columns: dict[str, pd.Series] = {}
    for name, devices in declared.devices.items():
        requests = break_even(run, devices, devices.prices, declared.gathering)
        table = requests.pivot_table("requests", "strategy", "cost", dropna=False)
        columns |= {f"time ({name})": table["time"], f"money ({name})": table["money"]}
        columns |= {"bytes": table["bytes"], "client epochs": table["client_epochs"]}
    return Table(
        name="break-even",
        caption="Requests until a strategy costs less than retraining",
        headings=("Strategy", *(f"In {column}" for column in columns)),
        rows=tuple(
            (
                Cell(name),
                *(Cell(_needed(values.get(name, math.nan))) for values in columns.values()),
            )
            for name in order
        ),
        notes=("0: from the start, even before anybody leaves. never: each request costs more.",),
    )


def _best(costs: pd.DataFrame, names: Sequence[str]) -> list[Cell]:
    """Return the times in words, the shortest of a strategy marked."""
    seconds = [float(costs["seconds"].get(name, math.nan)) for name in names]
    cells = [Cell(span(value)) for value in seconds]
    return [cells[0], *with_best(cells[1:], seconds[1:])]


def _share(costs: pd.DataFrame, name: str) -> str:
    share = float(costs["relative"].get(name, math.nan))
    return NO_NUMBER if math.isnan(share) else f"{100 * share:,.0f} %"


def _needed(requests: float) -> str:
    if math.isnan(requests):
        return NO_NUMBER
    return "never" if math.isinf(requests) else f"{requests:,.0f}"
