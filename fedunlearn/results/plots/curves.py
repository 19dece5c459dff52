"""What the figures show, as tables: curves around a request, goals, gaps, spreads over seeds.

Accuracies, rates and agreements are in percent here, their gaps in percentage points.
"""

import math
from dataclasses import dataclass

import pandas as pd

from fedunlearn.results import (
    DID_NOT_TAKE,
    GAP,
    PLANTED,
    RETRAIN,
    as_one_reference,
    retrained_rows,
    unit,
)

LEAD = 5
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


def probe(summary: pd.DataFrame) -> str:
    """Return the metric that tells best what is left of the leaver: attack success if it took."""
    took = (summary["probe"] != DID_NOT_TAKE).all()
    planted = f"{PLANTED}{GAP}" in summary
    return PLANTED if planted and took else "forget_accuracy"


def tradeoffs(summary: pd.DataFrame) -> dict[str, tuple[Spread, Spread]]:
    """Return each strategy's test accuracy, and its distance ``|value - retrained|`` in `probe`.

    Retraining is all references together: its distance is that of one of them from the others of
    its seed, the floor, and zero where there is one a seed. Strategies without either number are
    left out.
    """
    found = {}
    names = as_one_reference(summary["strategy"])
    for strategy, rows in summary.groupby(names):
        accuracy = Spread.of(unit("test_accuracy") * rows["test_accuracy"])
        distance = Spread.of(unit(probe(summary)) * rows[f"{probe(summary)}{GAP}"].abs())
        if math.isfinite(accuracy.mean + distance.mean):
            found[str(strategy)] = accuracy, distance
    return found


def around(metrics: pd.DataFrame, request: int) -> pd.DataFrame:
    """Return the curves ``strategy, phase, metric, x, mean, sd`` around a request.

    All references of a seed are one strategy, retraining.

    ``x`` counts rounds since the request: training before it is negative, and recovery goes on
    where unlearning ended. Before a second request only test metrics are shown: the others are
    about those who left last, not about those who are about to.
    """
    training = metrics[(metrics["phase"] == "train") & (metrics["request"] == request - 1)]
    training = training.assign(x=training["round"] - training["round"].max())
    training = training[training["x"] >= -LEAD]
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
    longest = max([LEAD, *others])
    fits = others.empty or ends.max() <= 1.5 * longest
    return int(ends.max() if fits else longest)
