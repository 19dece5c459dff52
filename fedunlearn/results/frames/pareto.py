"""Which points no other point beats in everything: the Pareto front."""

import numpy as np
import pandas as pd


def pareto_front(points: pd.DataFrame, least: list[str]) -> pd.Series:
    """Return, for each row, whether it is on the front where the columns ``least`` are minimised.

    A row is on it unless another is at most as large in every column and smaller in one. Equal
    rows are on it together; a row with nan is not, and beats nobody.
    """
    values = points[least].to_numpy(dtype=float)
    complete = np.isfinite(values).all(axis=1)
    values = np.where(complete[:, None], values, np.inf)
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    better = (values[:, None] < values[None]).any(axis=2)
    beaten = (no_worse & better & complete[:, None]).any(axis=0)
    return pd.Series(complete & ~beaten, index=points.index)
