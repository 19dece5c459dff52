"""All strategies next to retraining: what each measure says, its verdict, and the costs."""

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from fedunlearn.results import (
    DID_NOT_TAKE,
    GAP_SUFFIX,
    NOBODY_NAMED,
    RETRAIN,
    RETRAIN_AGAIN,
    Wish,
    card_or_plain,
    retrained_rows,
    unit,
    unlearned_rows,
)
from fedunlearn.results.frames import better, digits, label, measured
from fedunlearn.results.report.answers import SIGNS
from fedunlearn.results.report.cells import (
    MEANINGS,
    NO_NUMBER,
    SYMBOLS,
    Cell,
    Table,
    measure,
    number,
    with_best,
)

COSTS: Mapping[str, Callable[[pd.DataFrame], "pd.Series[float]"]] = {
    "Client epochs": lambda rows: rows["client_epochs"],
    "MB sent": lambda rows: (rows["bytes_down"] + rows["bytes_up"]) / 1e6,
    "Rounds": lambda rows: rows["rounds"].astype(float),
    "MB stored": lambda rows: rows["store_bytes"] / 1e6,
}
"""The headings of the costs, and their values."""

Verdicts = Mapping[tuple[str, str], str]
"""The verdict by strategy and metric."""


def standings(
    summary: pd.DataFrame,
    verdicts: pd.DataFrame,
    order: Sequence[str],
    request: int,
    owners: Mapping[int, str] = NOBODY_NAMED,
) -> Table:
    """Return the chief measures and the costs of one request: a row a strategy, in ``order``."""
    served = summary[summary["request"] == request]
    cases, goal = _cases(served), retrained_rows(served)
    metrics = [metric for metric in measured(served) if card_or_plain(metric).chief]
    judged = _judged(verdicts, request)
    columns = [_column(cases, goal, judged, order, metric) for metric in metrics]
    for read in COSTS.values():
        spent = [read(cases[name]) for name in order]
        means = [float(values.mean()) for values in spent]
        columns.append([_cost(read(goal)), *with_best([_cost(v) for v in spent], means)])
    names = [Cell(RETRAIN), *(Cell(strategy) for strategy in order)]
    rows = list(zip(names, *columns, strict=True))
    again = _again(verdicts, request, metrics)
    if again:
        rows.insert(1, (Cell(RETRAIN_AGAIN), *again, *(Cell(NO_NUMBER) for _ in COSTS)))
    seeds = served["seed"].nunique()
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    models = goal["strategy"].nunique()
    spread += f", of retraining over {models} models each" if models > 1 else ""
    asked = Wish.of(served, owners)
    return Table(
        name=f"standings-{request}",
        caption=f"All strategies next to retraining, after {asked.left}; {spread}",
        headings=("Strategy", *map(label, metrics), *COSTS),
        rows=tuple(rows),
        notes=(*_notes(verdicts, request), *filter(None, [asked.note])),
    )


def everything(
    summary: pd.DataFrame,
    verdicts: pd.DataFrame,
    order: Sequence[str],
    request: int,
    owners: Mapping[int, str] = NOBODY_NAMED,
) -> Table:
    """Return all measures of one request: a row a measure, a column a strategy."""
    served = summary[summary["request"] == request]
    cases, goal, judged = _cases(served), retrained_rows(served), _judged(verdicts, request)
    rows = [
        (Cell(label(metric)), *_column(cases, goal, judged, order, metric))
        for metric in measured(served)
    ]
    return Table(
        name=f"measures-{request}",
        caption=f"Every measure after {Wish.of(served, owners).left}",
        headings=("Measure", RETRAIN, *order),
        rows=tuple(rows),
        notes=_notes(verdicts, request),
    )


def in_rank(summary: pd.DataFrame, answers: pd.DataFrame, request: int, chief: str) -> list[str]:
    """Return the strategies of a request, the best first.

    They come in the order of their answers, and of two with the same one the nearer to retraining
    in the measure ``chief`` comes first.
    """
    words = list(SIGNS)
    mine = answers[answers["request"] == request].set_index("strategy")["answer"]
    ranks = {}
    for strategy, case in _cases(summary[summary["request"] == request]).items():
        far = abs(_gap(case, chief))
        ranks[strategy] = (words.index(mine[strategy]), math.inf if math.isnan(far) else far)
    return sorted(ranks, key=lambda name: ranks[name])


def _cases(served: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each strategy but retraining."""
    return {
        str(name): rows for name, rows in unlearned_rows(served).groupby("strategy", sort=False)
    }


def _judged(verdicts: pd.DataFrame, request: int) -> Verdicts:
    mine = verdicts[verdicts["request"] == request]
    cells = zip(mine["strategy"], mine["metric"], mine["verdict"], strict=True)
    return {(str(strategy), str(metric)): str(verdict) for strategy, metric, verdict in cells}


def _column(
    cases: Mapping[str, pd.DataFrame],
    goal: pd.DataFrame,
    judged: Verdicts,
    order: Sequence[str],
    metric: str,
) -> list[Cell]:
    """Return one measure of retraining, then of each strategy, the best of these marked."""
    cells, badness = [], []
    for strategy in order:
        case = cases[strategy]
        planted = card_or_plain(metric).planted
        if planted:
            case = case[case["probe"] != DID_NOT_TAKE]
        cell = measure(case[metric], digits(metric), unit(metric))
        if planted and case.empty:
            cell = Cell(DID_NOT_TAKE)
        cells.append(Cell(cell.text, cell.spread, verdict=judged.get((strategy, metric), "")))
        badness.append(_badness(case, metric))
    return [measure(goal[metric], digits(metric), unit(metric)), *with_best(cells, badness)]


def _badness(case: pd.DataFrame, metric: str) -> float:
    """Return how far a measure is from its best; nan where there is no number."""
    if better(metric) == "retrained":
        return abs(_gap(case, metric))
    mean = float(case[metric].mean(skipna=False))
    return -mean if better(metric) == "higher" else mean


def _gap(case: pd.DataFrame, metric: str) -> float:
    """Return the mean difference from retraining; nan where there is none."""
    there = f"{metric}{GAP_SUFFIX}" in case and len(case)
    return float(case[f"{metric}{GAP_SUFFIX}"].mean(skipna=False)) if there else math.nan


def _cost(values: "pd.Series[float]") -> Cell:
    """Return the mean of a cost, with a spread only where seeds differ."""
    cell = measure(values, 0 if (values % 1 == 0).all() else 1)
    return cell if values.nunique() > 1 else Cell(cell.text)


def _again(verdicts: pd.DataFrame, request: int, metrics: Sequence[str]) -> list[Cell]:
    """Return retraining judged against retraining: what perfection looks like."""
    mine = verdicts[(verdicts["request"] == request) & (verdicts["strategy"] == RETRAIN_AGAIN)]
    if mine.empty:
        return []
    values = dict(zip(mine["metric"], mine["value"], strict=True))
    judged = _judged(mine, request)
    return [
        Cell(
            number(unit(metric) * float(values[metric]), digits(metric)),
            verdict=judged[RETRAIN_AGAIN, metric],
        )
        if metric in values
        else Cell(NO_NUMBER)
        for metric in metrics
    ]


def _notes(verdicts: pd.DataFrame, request: int) -> tuple[str, ...]:
    """Return how to read the table."""
    goal = (
        "Where retraining is the goal, the value nearest to it is the best one, not the lowest. "
        "The best strategy of each measure is in bold."
    )
    there = set(verdicts.loc[verdicts["request"] == request, "verdict"])
    keys = [f"{SYMBOLS[one]} {one}: {MEANINGS[one]}" for one in SYMBOLS if one in there]
    return (goal, f"{'; '.join(keys)}.") if keys else (goal,)
