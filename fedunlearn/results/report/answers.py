"""The answer first: what answers.csv says of each strategy, its accuracy and its costs."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import pandas as pd

from fedunlearn.results import (
    DID_NOT_TAKE,
    GAP_SUFFIX,
    NOBODY_NAMED,
    RETRAIN_AGAIN,
    UTILITY_METRIC,
    Wish,
    amount,
    card_or_plain,
    retrained_rows,
    unit,
)
from fedunlearn.results.frames import digits
from fedunlearn.results.report.cells import NO_NUMBER, number

TIMES = "\N{MULTIPLICATION SIGN}"

SIGNS = {
    "as retrained": "✓",
    "undecided": "?",
    "nothing to forget": NO_NUMBER,
    "no verdict": NO_NUMBER,
    "remembers": "▲",
    "damaged": "▼",
    "broken": "✕",
}
"""A sign for each answer, in the order in which strategies are ranked."""

VERBS = {
    "as retrained": "forgot {}",
    "undecided": "may or may not have forgotten {}",
    "nothing to forget": "had nothing of {} to forget",
    "no verdict": "cannot be judged",
    "remembers": "still remembers {}",
    "damaged": "is damaged where {} had been",
    "broken": "is no working model any more",
}
"""What follows a strategy's name, for each answer."""

HOW = (
    "Remembers, damaged: told apart from retrained models by one test over all measures, which "
    "errs for 5 % of them. Forgot: not told apart, and every measure about the leavers that "
    "could tell lies within the margin. The signs in the tables are of the same test."
)
"""What stands below the answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the leavers with one strategy."""

    strategy: str
    outcome: str
    """The word of answers.csv: one of `SIGNS`."""
    sentence: str
    """What follows the strategy's name."""

    @property
    def style(self) -> str:
        """The outcome as the page's style sheet calls it."""
        return self.outcome.replace(" ", "-")


def answer(
    row: Mapping[Hashable, object],
    summary: pd.DataFrame,
    chief: str,
    owners: Mapping[int, str] = NOBODY_NAMED,
) -> Answer:
    """Say what ``row`` of answers.csv says; ``chief`` is the most telling measure.

    Where nothing could be decided, the sentence tells that measure next to retraining's as well.
    """
    strategy, outcome = str(row["strategy"]), str(row["answer"])
    served = summary[summary["request"] == row["request"]]
    leavers = Wish.of(served, owners).what
    parts = [f"{VERBS[outcome].format(leavers)}. {row['reason']}"]
    case = served[served["strategy"] == strategy]
    if strategy != RETRAIN_AGAIN:
        if outcome in ("undecided", "no verdict"):
            parts.append(f"{_capital(_next_to(case, served, chief))}.")
        costs = f"{_utility(case)}, {_epochs(case, retrained_rows(served))}"
        parts.append(f"{_capital(costs)}.")
    return Answer(strategy, outcome, " ".join(parts))


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _utility(case: pd.DataFrame) -> str:
    """Compare the test accuracy with retraining's."""
    if f"{UTILITY_METRIC}{GAP_SUFFIX}" not in case:
        return "accuracy not measured"
    return utility_words(100 * float(case[f"{UTILITY_METRIC}{GAP_SUFFIX}"].mean(skipna=False)))


def utility_words(gap: float) -> str:
    """Say by how many points a model is more accurate than retraining, or less."""
    if math.isnan(gap):
        return "accuracy not comparable"
    size = number(abs(gap), 1)
    if size == "0.0":
        return "as accurate as retraining"
    return f"{size} points of accuracy {'lost' if gap < 0 else 'gained'}"


def _epochs(case: pd.DataFrame, retrained: pd.DataFrame) -> str:
    """Compare the client epochs with retraining's."""
    spent = float(case["client_epochs"].mean())
    full = float(retrained["client_epochs"].mean())
    if spent == 0:
        return "no client epochs at all"
    if not full > 0:
        return f"{amount(spent)} client epochs"
    if math.isclose(spent, full, rel_tol=0.005):
        return "as many client epochs as retraining"
    if spent < full:
        return f"{full / spent:,.1f}{TIMES} fewer client epochs than retraining"
    return f"{spent / full:,.1f}{TIMES} as many client epochs as retraining"


def _next_to(case: pd.DataFrame, served: pd.DataFrame, chief: str) -> str:
    """Tell the chief measure next to retraining's."""
    if chief not in case or case[chief].isna().all():
        return "what it forgot was not measured"
    label = card_or_plain(chief).label
    mark = " %" if unit(chief) == 100 else ""
    if card_or_plain(chief).planted and (case["probe"] == DID_NOT_TAKE).any():
        return "the planted backdoor did not take, so it cannot tell"
    value = number(unit(chief) * float(case[chief].mean(skipna=False)), digits(chief))
    goal = number(unit(chief) * float(retrained_rows(served)[chief].mean()), digits(chief))
    return f"{label[0].lower()}{label[1:]} {value}{mark}, retrained {goal}{mark}"
