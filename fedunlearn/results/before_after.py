"""The two ends of serving a request, in the rows of metrics.csv: the model before, and the last."""

from collections.abc import Sequence

import pandas as pd

PHASES = ["unlearn", "recover"]
"""In the order in which they come."""


def ends(rows: pd.DataFrame, case: Sequence[str]) -> pd.DataFrame:
    """Return the values ``before`` the request and ``after`` unlearning and recovery.

    ``rows`` are rows of metrics.csv, ``case`` the columns that tell one deletion and metric from
    another; they are the index of what is returned. Training does not count.
    """
    serving = rows[rows["phase"].isin(PHASES)]
    ordered = serving.assign(stage=serving["phase"].map(PHASES.index))
    ordered = ordered.sort_values(["stage", "round"], kind="stable")
    values = ordered.groupby(list(case), sort=False)["value"]
    return pd.DataFrame({"before": values.first(), "after": values.last()})
