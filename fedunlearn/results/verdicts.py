"""What each measure says of a strategy's models: a verdict for each, next to retraining.

docs/verdicts.md says what verdicts mean, and what they do not; `answers` sums them up in one word.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd

from fedunlearn.results.columns import VERDICT_COLUMNS
from fedunlearn.results.comparisons import Comparison, comparisons
from fedunlearn.results.joint_test import LEVEL
from fedunlearn.results.margins import Margins, Measured
from fedunlearn.results.metric_cards import card_or_plain

Verdict = Literal["inside", "over-forgotten", "under-forgotten", "outside", "undecided"]


def judge(summary: pd.DataFrame, margins: Margins | None = None) -> pd.DataFrame:
    """Return a row (`VERDICT_COLUMNS`) for each request, strategy and metric of a run's summary.

    ``value`` and ``reference`` are means over seeds; gaps up to the margin count as none, so that
    the band of retrained models goes from ``low`` to ``high``; the gap stands with its interval
    and with a p-value that allows for all measures of the strategy (see `told_apart`). There are
    no rows where too few models cannot tell anything, and none for distances to the first
    reference.
    """
    limits = margins or Margins()
    rows = [] if summary.empty else list(_rows(summary, limits))
    table = pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))
    return table.astype({name: kind for name, kind in VERDICT_COLUMNS.items() if kind != "str"})


def _rows(summary: pd.DataFrame, margins: Margins) -> Iterator[dict[str, object]]:
    for request, served in summary.groupby("request"):
        for case in comparisons(served):
            if not case.can_decide:
                continue
            for one in case.measures.values():
                row = {"request": request, "strategy": case.strategy, "metric": one.metric}
                yield {**row, **_judged(case, one, margins)}


def _judged(case: Comparison, one: Measured, margins: Margins) -> dict[str, object]:
    mean = {"value": one.value, "reference": one.reference}
    if not one.finite:
        return {**mean, "verdict": "undecided"}
    card, width, (low, high) = card_or_plain(one.metric), one.margin(margins), one.interval
    band = np.clip(
        [one.reference - width, one.reference + width], card.lower_bound, card.upper_bound
    )
    return {
        **mean,
        "low": band[0],
        "high": band[1],
        "gap": one.gap,
        "gap_low": low,
        "gap_high": high,
        "p_value": case.adjusted[one.metric],
        "verdict": verdict(case, one, margins),
    }


def verdict(case: Comparison, one: Measured, margins: Margins) -> Verdict:
    """Return what one measure says of a strategy.

    Outside is what tells its models from retrained ones, with allowance for all other measures;
    inside is a gap whose interval lies within the margin.
    """
    if case.adjusted[one.metric] <= LEVEL:
        more = one.remembers
        if more is None:
            return "outside"
        return "under-forgotten" if more else "over-forgotten"
    return "inside" if one.equivalent(margins) else "undecided"
