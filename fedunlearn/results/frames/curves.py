"""Curves around a request, what retraining reached, and spreads over seeds.

Accuracies, rates and agreements are in percent here, their gaps in percentage points.
"""

from dataclasses import dataclass

import pandas as pd

from fedunlearn.results import (
    RETRAIN,
    as_one_reference,
    retrained_rows,
    unit,
)

LEAD_ROUNDS = 5
"""Training rounds shown before a request."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean over seeds and sample standard deviation; the latter is 0 for a single seed."""

    mean: float
    sd: float

    @classmethod
    def of(cls, values: pd.Series) -> "Spread":
        """Summarise one value a seed."""
        return cls(float(values.mean()), float(values.std()) if len(values) > 1 else 0.0)


def goal(summary: pd.DataFrame, metric: str) -> Spread:
    """Return what retrained models reached, all references of all seeds alike."""
    return Spread.of(unit(metric) * retrained_rows(summary)[metric])


def around(metrics: pd.DataFrame, request: int) -> pd.DataFrame:
    """Return the curves ``strategy, phase, metric, x, mean, sd`` around a request.

    All references of a seed are one strategy, retraining.

    ``x`` counts rounds since the request: training before it is negative, and recovery goes on
    where unlearning ended. Before a second request only test metrics are shown: the others are
    about those who left last, not about those who are about to.
    """
    training = metrics[(metrics["phase"] == "train") & (metrics["request"] == request - 1)]
    training = training.assign(x=training["round"] - training["round"].max())
    training = training[training["x"] >= -LEAD_ROUNDS]
    if request > 1:
        training = training[training["metric"].str.startswith("test_")]
    served = metrics[(metrics["request"] == request) & (metrics["phase"] != "train")]
    unlearning = served[served["phase"] == "unlearn"]
    length = unlearning.groupby(["seed", "strategy"])["round"].max().rename("length")
    served = served.join(length, on=["seed", "strategy"])
    since = served["round"] + served["length"].where(served["phase"] == "recover", 0)
    points = pd.concat([training, served.assign(x=since)])
    points["value"] *= points["metric"].map(unit)
    points["strategy"] = as_one_reference(points["strategy"])
    spread = points.groupby(["strategy", "phase", "metric", "x"])["value"]
    return spread.agg(mean="mean", sd="std").fillna({"sd": 0.0}).reset_index()


def horizon(curves: pd.DataFrame) -> int:
    """Return the last round to show: that of the longest strategy.

    Retraining is shown to its end only where it takes at most half as many rounds again, or where
    there is nothing else to see.
    """
    ends = curves[curves["phase"] != "train"].groupby("strategy")["x"].max()
    others = ends.drop(RETRAIN, errors="ignore")
    longest = max([LEAD_ROUNDS, *others])
    fits = others.empty or ends.max() <= 1.5 * longest
    return int(ends.max() if fits else longest)


def curves_by_seed(metrics: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return one row for each request, seed, strategy, phase and ``x``, a column a metric.

    ``x`` counts rounds since the request, as in `around`; values are in
    the unit in which people see them. Recovery starts where unlearning ended, and each line where
    training left the model, so that lines hang together.
    """
    parts = []
    for request in sorted(set(metrics["request"]) - {0}):
        for seed, rows in metrics.groupby("seed"):
            points = around(rows[rows["metric"].isin(names)], request)
            parts.append(points.assign(request=request, seed=str(seed)))
    keys = ["request", "seed", "strategy", "phase", "x"]
    if not parts:
        return pd.DataFrame(columns=[*keys, *names])
    table = pd.concat(parts).pivot_table("mean", keys, "metric", sort=False).reset_index()
    recovering = set(table.loc[table["phase"] == "recover", "strategy"])
    unlearnt = table[(table["phase"] == "unlearn") & table["strategy"].isin(recovering)]
    joints = unlearnt.loc[unlearnt.groupby(["request", "seed", "strategy"])["x"].idxmax()]
    table = pd.concat([table, joints.assign(phase="recover")], ignore_index=True)
    return table.sort_values([*keys[:3], "x"], kind="stable", ignore_index=True)
