"""Runs and multiruns with made-up but realistic numbers, as folders."""

import numpy as np
import pandas as pd
import yaml

from fedunlearn.results import ATTACK_COLUMNS, ATTACKS_FILE, VERDICT_COLUMNS, note_derived
from tests.support import simulated_runs as runs
from tests.support.simulated_runs import simulated


def multirun(path):
    """Write six runs of FedEraser: the longer the interval, the cheaper and the less forgotten."""
    rng = np.random.default_rng(0)
    known = runs.ENDS["federaser"]
    try:
        for number, (interval, effort) in enumerate((i, e) for i in (1, 2, 4) for e in (0.25, 1.0)):
            kept = 0.27 + 0.05 * interval / effort
            end = (0.978 - 0.02 / effort / interval + rng.normal(0, 0.003), kept, 0.005, 0.508)
            models = int(160 * effort / interval) + 8
            runs.ENDS["federaser"] = (end, 24 // interval, 2.0 * models, models, 20 / interval)
            run = simulated(path / str(number), ("retrain", "federaser"))
            (run / ".hydra").mkdir()
            words = [f"strategy.interval={interval}", f"strategy.effort={effort}", "planting=none"]
            (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(words))
    finally:
        runs.ENDS["federaser"] = known
    return path


LAYERS = ("first", "second", "head")


def looked_into(folder):
    """Add what only some runs have: layers that were compared, and models that were attacked."""
    rng = np.random.default_rng(1)
    path = folder / "metrics.csv"
    metrics = pd.read_csv(path)
    ends = metrics[(metrics["request"] > 0) & (metrics["metric"] == "test_accuracy")]
    ends = ends.drop_duplicates(["seed", "strategy", "request"], keep="last")
    again = ends[ends["strategy"] == "retrain"].assign(strategy="retrain-2")
    ends = pd.concat([ends[ends["strategy"] != "retrain"], again])
    added = [
        ends.assign(metric=f"{records}_cka/{layer}", value=1 - rng.random(len(ends)) / 2)
        for records in ("forget", "test")
        for layer in LAYERS
    ]
    pd.concat([metrics, *added]).to_csv(path, index=False)
    cases = ends.drop(columns=["phase", "round", "metric", "value"])
    cases = pd.concat([cases, again[list(cases)].assign(strategy="retrain")])
    before = cases[cases["strategy"] == "none"].assign(strategy="shared")
    found = pd.concat([cases, before]).merge(
        pd.DataFrame(
            [("loss", "record"), ("lira", "record"), ("lira_retrained", "client")],
            columns=["attack", "level"],
        ),
        how="cross",
    )
    found = found.assign(statistic="auc", value=rng.uniform(0.4, 0.6, len(found)))
    found = found.assign(low=found["value"] - 0.1, high=found["value"] + 0.1)
    found = found.assign(n_members=100, n_others=25)
    found[list(ATTACK_COLUMNS)].to_csv(folder / ATTACKS_FILE, index=False)
    note_derived(folder, [folder / ATTACKS_FILE])
    return folder


def summary(rows, seeds=(0,), clients="3", probe="took"):
    """Return a summary: ``rows`` maps a strategy to its metrics and costs, the same for seeds."""
    costs = {"bytes_down": 0, "bytes_up": 0, "client_epochs": 0.0, "samples": 0, "rounds": 1}
    costs |= {"seconds": 0.0, "store_bytes": 0}
    case = {"request": 1, "clients": clients, "probe": probe}
    return pd.DataFrame(
        [
            {"seed": seed, "strategy": strategy, **case, **costs, **values}
            for seed in seeds
            for strategy, values in rows.items()
        ]
    )


def verdicts(found, request=1):
    """Return verdicts: ``found`` maps a strategy to ``{metric: verdict}``."""
    rows = [
        {"request": request, "strategy": strategy, "metric": metric, "verdict": verdict}
        | {"value": 0.5, "reference": 0.5, "low": 0.4, "high": 0.6, "gap": 0.0}
        for strategy, metrics in found.items()
        for metric, verdict in metrics.items()
    ]
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))
