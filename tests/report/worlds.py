"""Runs and multiruns with made-up but realistic numbers, as folders."""

import numpy as np
import pandas as pd
import yaml

from fedunlearn.verdicts import VERDICTS
from tests.plots import runs
from tests.plots.runs import simulated


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
    return pd.DataFrame(rows, columns=list(VERDICTS))
