"""The two ends of serving a request, in the rows of metrics.csv: the model before, and the last."""

from collections.abc import Sequence

import pandas as pd

PHASES = ["unlearn", "recover"]
"""In the order in which they come."""


def ends(rows: pd.DataFrame, case: Sequence[str]) -> pd.DataFrame:
    """Return the values ``before`` the request and ``after`` unlearning and recovery.

    ``rows`` are rows of metrics.csv, ``case`` the columns that tell one deletion and metric from
    another; they are the index of what is returned. Training does not count. A value that is no
    number stays none.
    """
    serving = rows[rows["phase"].isin(PHASES)]
    ordered = serving.assign(stage=serving["phase"].map(PHASES.index))
    ordered = ordered.sort_values(["stage", "round"], kind="stable")
    each = ordered.groupby(list(case), sort=False)  # whose first() would pass over nan
    first, last = (rows.set_index(list(case))["value"] for rows in (each.head(1), each.tail(1)))
    return pd.DataFrame({"before": first, "after": last.reindex(first.index)})
