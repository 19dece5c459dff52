"""Before and after a request, with reductions in per cent: what had to go, and what had to stay."""

from collections.abc import Sequence

import pandas as pd

from fedunlearn.results import RETRAIN, Run, card_or_plain, reductions, unit
from fedunlearn.results.frames import better, digits, label, measured
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table, number

CAPTIONS = {True: "What was to be forgotten", False: "What was to stay"}
"""By whether a measure is one for which retraining is the goal."""


def reduced(run: Run, order: Sequence[str]) -> list[Table]:
    """Return two tables for each request, a row a strategy: chief measures before and after."""
    table = reductions(run.metrics)
    chief = [name for name in measured(run.summary) if card_or_plain(name).chief]
    found = []
    for request in sorted(set(run.summary["request"])):
        mine = table[table["request"] == request]
        for goes, caption in CAPTIONS.items():
            names = [name for name in chief if (better(name) == "retrained") == goes]
            if names:
                found.append(_table(mine, [RETRAIN, *order], names, request, caption))
    return found


def _table(
    served: pd.DataFrame, order: Sequence[str], names: Sequence[str], request: int, caption: str
) -> Table:
    rows = [(Cell(each), *(_cell(served, each, name) for name in names)) for each in order]
    return Table(
        name=f"{'forgotten' if caption == CAPTIONS[True] else 'kept'}-{request}",
        caption=f"{caption}, before and after request {request}",
        headings=("Strategy", *map(label, names)),
        rows=tuple(rows),
        notes=(
            "Means over seeds before the request and after recovery; in brackets by how many per "
            "cent of its value before a measure fell, or grew where that is negative. The goal "
            f"is the reduction in the row {RETRAIN}.",
        ),
    )


def _cell(served: pd.DataFrame, strategy: str, name: str) -> Cell:
    mine = served[(served["strategy"] == strategy) & (served["metric"] == name)]
    if mine.empty:
        return Cell(NO_NUMBER)
    before, after, reduction = (float(mine[at].iloc[0]) for at in ("before", "after", "reduction"))
    shown = [number(unit(name) * value, digits(name)) for value in (before, after)]
    fell = number(reduction, 0)
    return Cell(f"{shown[0]} → {shown[1]} ({fell}{'' if fell == NO_NUMBER else ' %'})")
