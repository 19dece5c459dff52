"""Rows of metrics.csv made by hand."""

import pandas as pd

from fedunlearn.results import METRICS


def measured(rows):
    """Rows as metrics.csv has them."""
    return pd.DataFrame(rows, columns=list(METRICS))
