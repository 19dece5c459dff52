"""Rows of metrics.csv made by hand."""

import pandas as pd

from fedunlearn.results import METRIC_COLUMNS


def measured(rows):
    """Rows as metrics.csv has them."""
    return pd.DataFrame(rows, columns=list(METRIC_COLUMNS))
