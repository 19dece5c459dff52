"""The band that retrained models span."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from fedunlearn.results import CASE_COLUMNS, RETRAIN_AGAIN, judge, retrained_rows, unit
from fedunlearn.results.frames.naming import ALL_SEEDS, bounds

BAND_COLUMNS = ["request", "seed", "metric", "mean", "low", "high"]
"""The columns of `retrained_bands`."""


class Band(NamedTuple):
    """Where the retrained models of one request lie in one measure, as people see it."""

    mean: float
    low: float
    high: float
    judged: bool
    """Whether it reaches as far as the margin of the verdicts; else a standard deviation."""


def bands_in(
    summary: pd.DataFrame, metrics: Sequence[str], verdicts: pd.DataFrame | None = None
) -> dict[str, Band]:
    """Return the band of each measure over all seeds; ``summary`` holds one request's rows.

    ``verdicts`` are those of the run; None: as the usual margins say.
    """
    judged = judge(summary[[*CASE_COLUMNS, *metrics]]) if verdicts is None else verdicts
    bands = retrained_bands(summary, judged, metrics)
    together = bands[bands["seed"] == ALL_SEEDS].to_dict("records")
    margins = set(judged.dropna(subset=["low", "high"])["metric"])
    return {
        row["metric"]: Band(row["mean"], row["low"], row["high"], row["metric"] in margins)
        for row in together
    }


def retrained_bands(
    summary: pd.DataFrame, verdicts: pd.DataFrame, metrics: Sequence[str]
) -> pd.DataFrame:
    """Return where retrained models lie, for each request, metric and seed, and for all seeds.

    Values are in the unit in which people see them. The band is that of the verdicts where there
    are any; else, and for a single seed, ``mean ± sample standard deviation``, which is a line
    where there is but one retrained model.
    """
    retrained = retrained_rows(summary)
    rows: list[tuple[object, ...]] = []
    for request, served in retrained.groupby("request"):
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
                    & (verdicts["strategy"] != RETRAIN_AGAIN)
                ].dropna(subset=["low", "high"])
                if seed == ALL_SEEDS and len(judged):
                    low, high = (unit(metric) * judged[name].iloc[0] for name in ("low", "high"))
                least, most = bounds(metric)
                rows.append((request, seed, metric, mean, max(least, low), min(most, high)))
    return pd.DataFrame(rows, columns=BAND_COLUMNS)
