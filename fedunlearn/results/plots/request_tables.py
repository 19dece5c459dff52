"""What a figure of one request is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from fedunlearn.results import GAP_SUFFIX, PALETTE, RETRAIN, unlearned_rows
from fedunlearn.results.frames import probe

CROWD = len(PALETTE) + 1
"""From so many strategies on, one line each in one panel cannot be told apart."""


@dataclass(frozen=True)
class RequestTables:
    """The tables of a run, as far as they are of one request."""

    metrics: pd.DataFrame
    """As in `Run`: of all requests."""
    summary: pd.DataFrame
    """The rows of the request."""
    verdicts: pd.DataFrame | None
    """Those of the run; None before it is finished."""
    owners: Mapping[int, str] = field(default_factory=dict)
    """What people call clients."""

    @property
    def comparable(self) -> bool:
        """Whether accuracy and a measure of forgetting stand next to retraining's."""
        wanted = {"test_accuracy", f"{probe(self.summary)}{GAP_SUFFIX}"}
        return RETRAIN in set(self.summary["strategy"]) and wanted <= set(self.summary)

    @property
    def at_a_glance(self) -> bool:
        """Whether one figure shows all strategies, in place of one a question."""
        return self.comparable and crowded(self.summary)


def crowded(summary: pd.DataFrame) -> bool:
    """Whether there are too many strategies for a line each."""
    return unlearned_rows(summary)["strategy"].nunique() >= CROWD
