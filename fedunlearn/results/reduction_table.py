"""What serving a request took from each measure: before, after, and the reduction in per cent."""

import pandas as pd

from fedunlearn.results.before_after import ends
from fedunlearn.results.branches import RETRAIN, is_reference
from fedunlearn.results.metric_cards import PART_SEPARATOR

CASE = ["request", "strategy", "metric"]


def reductions(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each request, strategy and metric; further references count as retraining.

    ``metrics`` are rows of metrics.csv. The columns are ``request, strategy, metric``, the mean
    over seeds ``before`` the request and ``after`` unlearning and recovery, and ``reduction``,
    ``100 (before - after) / before``: negative where the measure grew, nan where it was 0 or where
    a seed has no number. Metrics of one client or one layer are left out.
    """
    whole = metrics[~metrics["metric"].str.contains(PART_SEPARATOR, regex=False)]
    both = ends(whole, ["seed", *CASE]).reset_index()
    both["strategy"] = [RETRAIN if is_reference(str(n)) else n for n in both["strategy"]]
    grouped = both.groupby(CASE, sort=False)[["before", "after"]]
    table = grouped.mean()
    table = table.where(grouped.count().eq(grouped.size(), axis=0))  # a seed without a number
    changed = table["before"] - table["after"]
    table["reduction"] = 100 * changed / table["before"].where(table["before"] != 0)
    return table.reset_index()
