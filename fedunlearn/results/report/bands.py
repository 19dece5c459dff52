"""The band that retrained models span."""

import pandas as pd

from fedunlearn.results import AGAIN, retrained_rows, unit
from fedunlearn.results.report.naming import ALL_SEEDS, bounds

BAND = ["request", "seed", "metric", "mean", "low", "high"]
"""The columns of `bands`."""


def bands(summary: pd.DataFrame, verdicts: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return where retrained models lie, for each request, metric and seed, and for all seeds.

    Values are in the unit in which people see them. The band is that of the verdicts where there
    are any; else, and for a single seed, ``mean ± sample standard deviation``, which is a line
    where there is but one retrained model.
    """
    found = retrained_rows(summary)
    rows: list[tuple[object, ...]] = []
    for request, served in found.groupby("request"):
        by_seed = ((str(seed), part) for seed, part in served.groupby("seed"))
        for seed, part in ((ALL_SEEDS, served), *by_seed):
            for metric in metrics:
                values = unit(metric) * part[metric].dropna()
                if values.empty:
                    continue
                mean, sd = values.mean(), values.std() if len(values) > 1 else 0.0
                low, high = mean - sd, mean + sd
                judged = verdicts[
                    (verdicts["request"] == request)
                    & (verdicts["metric"] == metric)
                    & (verdicts["strategy"] != AGAIN)
                ].dropna(subset=["low", "high"])
                if seed == ALL_SEEDS and len(judged):
                    low, high = (unit(metric) * judged[name].iloc[0] for name in ("low", "high"))
                least, most = bounds(metric)
                rows.append((request, seed, metric, mean, max(least, low), min(most, high)))
    return pd.DataFrame(rows, columns=BAND)
