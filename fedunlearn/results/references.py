"""What a model is compared with: the references of its seed, and for one of them the other ones.

All gaps, verdicts, floors and scores take from here which retrained models they are against.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from fedunlearn.results.branches import RETRAIN, is_reference, reference_number
from fedunlearn.results.columns import GAP_SUFFIX
from fedunlearn.results.run_files import metric_columns


def other_references(strategy: str, strategies: Iterable[str]) -> list[str]:
    """Return the references among ``strategies``, each once and as they come, but ``strategy``."""
    return [name for name in dict.fromkeys(strategies) if is_reference(name) and name != strategy]


def goals_of(strategy: str, strategies: Iterable[str]) -> list[str]:
    """Return as `other_references`, but a reference that is alone is its own goal."""
    names = list(strategies)
    itself = [strategy] if is_reference(strategy) and strategy in names else []
    return other_references(strategy, names) or itself


def mean_of_others(rows: pd.DataFrame, case: Sequence[str], value: str) -> pd.Series:
    """Return for each of ``rows`` the mean ``value`` of its case's `other_references`.

    ``case`` are the columns that rows to be compared have in common. The mean is nan where there
    is no other reference, and where one of their values is nan.
    """
    retrained, goals = retrained_rows(rows), []
    for strategy, group in rows.groupby("strategy", sort=False):
        others = other_references(str(strategy), retrained["strategy"])
        values = retrained[retrained["strategy"].isin(others)].groupby(list(case))[value]
        goal = values.agg(lambda each: each.mean(skipna=False)).rename("goal")
        goals.append(group[list(case)].join(goal, on=list(case))["goal"])
    return pd.concat(goals).reindex(rows.index) if goals else pd.Series(dtype="float64")


def retrained_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of retrained models."""
    return rows[rows["strategy"].map(is_reference).astype(bool)]


def unlearned_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of everything but retrained models."""
    return rows[~rows["strategy"].map(is_reference).astype(bool)]


def further_references(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which rows are of references beside the first one, which cost and store as much."""
    return rows["strategy"].map(reference_number).astype(int) > 1


def as_one_reference(strategies: "pd.Series[str]") -> "pd.Series[str]":
    """Return names of strategies in which `RETRAIN` stands for all references of a seed."""
    return strategies.mask(strategies.map(is_reference).astype(bool), RETRAIN)


def gaps(values: Mapping[str, float], retrained: Mapping[str, float]) -> dict[str, float]:
    """Return ``<name>_gap = value - retrained value`` for each metric that both have.

    Zero is the goal.
    """
    return {
        f"{name}{GAP_SUFFIX}": value - retrained[name]
        for name, value in values.items()
        if name in retrained
    }


def with_gaps(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a summary with ``<name>_gap = value - mean_r retrained value r``.

    The mean is taken over the row's `goals_of` its seed and request. Metrics that the first
    reference does not have compare with it already, and have no gap.
    """
    retrained: dict[tuple[int, int], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if is_reference(row["strategy"]):
            retrained.setdefault((row["seed"], row["request"]), {})[row["strategy"]] = row
    with_gap = []
    for row in rows:
        models = retrained[row["seed"], row["request"]]
        goals = [models[name] for name in goals_of(row["strategy"], models)]
        first = next(iter(models.values()))
        means = {name: fmean(goal[name] for goal in goals) for name in metric_columns(first)}
        with_gap.append({**row, **gaps(row, means)})
    return with_gap
