"""Rows of ledger.csv made by hand."""

import numpy as np
import pandas as pd

from fedunlearn.results import LEDGER_COLUMNS


def charges(*rows, seed=0, strategy="s", request=1):
    """Rows of ``phase, round, client, bytes_down, bytes_up, samples`` and maybe ``seconds``."""
    cells = [(seed, strategy, request, *row, *([np.nan] if len(row) == 6 else [])) for row in rows]
    return pd.DataFrame(cells, columns=list(LEDGER_COLUMNS)).astype(LEDGER_COLUMNS)
