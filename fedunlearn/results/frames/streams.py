"""A stream of requests over a training: who waited when, and how good the model was meanwhile."""

import pandas as pd

from fedunlearn.results import as_one_reference, unit

ACCURACY = "test_accuracy"


def backlog(requests: pd.DataFrame) -> pd.DataFrame:
    """Return how many wait: columns ``at, waiting``, a row for each change, in order.

    ``requests`` is requests.csv. Who is served when is the same for all strategies and seeds. The
    value holds from ``at`` on; of changes at the same time, arrivals come first.
    """
    if requests.empty:
        return pd.DataFrame({"at": [0.0], "waiting": [0]})
    case = (requests["seed"] == requests["seed"].iloc[0]) & (
        requests["strategy"] == requests["strategy"].iloc[0]
    )
    one = requests[case]
    come = pd.DataFrame({"at": one["arrived"], "change": 1})
    gone = pd.DataFrame({"at": one["served"].astype(float), "change": -1})
    changes = pd.concat([come, gone]).groupby(["at", "change"]).size().reset_index(name="count")
    changes = changes.sort_values(["at", "change"], ascending=[True, False])
    waiting = (changes["change"] * changes["count"]).cumsum()
    start = pd.DataFrame({"at": [0.0], "waiting": [0]})
    steps = pd.DataFrame({"at": changes["at"], "waiting": waiting})
    return pd.concat([start, steps], ignore_index=True)


def accuracy_over_stream(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracy in percent over a training: columns ``strategy, round, step, value``.

    ``step`` orders the points of a strategy: the models of training, and after each request the
    last one of unlearning or recovery, at the training round that it follows. Means over seeds;
    the training that all share is part of each strategy's.
    """
    rows = metrics[metrics["metric"] == ACCURACY]
    training = rows[rows["phase"] == "train"]
    shared, own = training[training["request"] == 0], training[training["request"] > 0]
    before = training.groupby("request")["round"].max()
    served = rows[rows["phase"] != "train"].reset_index(drop=True)
    last = served.groupby(["seed", "strategy", "request"]).tail(1)
    done = {r: before[before.index < r].max() for r in last["request"].unique()}
    last = last.assign(round=last["request"].map(done))
    parts = []
    for strategy, mine in pd.concat([own, last]).groupby("strategy", sort=False):
        parts.append(pd.concat([shared, mine]).assign(strategy=strategy))
    if not parts:
        return pd.DataFrame(columns=["strategy", "round", "step", "value"])
    points = pd.concat(parts)
    points["strategy"] = as_one_reference(points["strategy"])
    points["late"] = points["phase"] == "train"
    keys = ["strategy", "request", "late", "round"]
    mean = points.groupby(keys, sort=False)["value"].mean().reset_index()
    mean = mean.sort_values(["request", "late", "round"], kind="stable")
    mean["step"] = mean.groupby("strategy").cumcount()
    mean["value"] *= unit(ACCURACY)
    return mean[["strategy", "round", "step", "value"]].reset_index(drop=True)
