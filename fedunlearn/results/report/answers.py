"""The answer first: one sentence a strategy, from its verdicts, its accuracy and its costs."""

import math
from dataclasses import dataclass

import pandas as pd

from fedunlearn.results import DID_NOT_TAKE, GAP, amount, card_or_plain, retrained_rows, unit, who
from fedunlearn.results.frames import UTILITY, better, digits
from fedunlearn.results.report.cells import ABSENT, number

TIMES = "\N{MULTIPLICATION SIGN}"

DIVERGED = ("test_loss", "forget_loss")
"""The measures that are no numbers where a model's logits are none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the leavers with one strategy."""

    strategy: str
    outcome: str
    """One word for the page's mark: ``forgot``, ``partly``, ``remembers``, ``damaged``,
    ``undecided``, ``diverged`` or ``unjudged``."""
    sentence: str
    """What follows the strategy's name."""


SIGNS = {
    "forgot": "✓",
    "partly": "▲",
    "remembers": "▲",
    "damaged": "▼",
    "undecided": "?",
    "diverged": "✕",
    "unjudged": ABSENT,
}
"""A sign for each outcome."""

UNJUDGED = (
    "There are no verdicts: this run has too few seeds or retrained references to tell a "
    "difference from chance. `references=3` and more seeds give some. What follows is measured, "
    "not judged."
)
"""What stands above the answers where nobody could judge."""


def answer(
    summary: pd.DataFrame, verdicts: pd.DataFrame, strategy: str, request: int, chief: str
) -> Answer:
    """Say what one strategy did in one request; ``chief`` is the most telling measure.

    Where there are no verdicts, the sentence tells the measure next to retraining's instead.
    """
    served = summary[summary["request"] == request]
    case = served[served["strategy"] == strategy]
    leavers = who(str(case["clients"].iloc[0]))
    costs = f"{_utility(case)}, {_passes(case, retrained_rows(served))}"
    lost = _diverged(case)
    if lost:
        where = "" if lost == len(case) == 1 else f" under {lost} of {len(case)} seeds"
        return Answer(
            strategy, "diverged", f"diverged{where}: its model no longer computes numbers; {costs}."
        )
    mine = verdicts[(verdicts["request"] == request) & (verdicts["strategy"] == strategy)]
    if mine.empty:
        return Answer(strategy, "unjudged", f"{_next_to(case, served, chief)}; {costs}.")
    outcome = _outcome(mine)
    decided = mine[mine["verdict"] != "undecided"]
    inside = int((mine["verdict"] == "inside").sum())
    counted = f"inside the retrained band on {inside} of {len(mine)} measures"
    open_ones = len(mine) - len(decided)
    if 0 < open_ones < len(mine):
        counted += f" ({open_ones} undecided)"
    verbs = {
        "forgot": f"forgot {leavers}",
        "partly": f"forgot {leavers} only in part",
        "remembers": f"did not forget {leavers}",
        "damaged": f"went beyond forgetting {leavers}",
        "undecided": f"may or may not have forgotten {leavers}",
    }
    return Answer(strategy, outcome, f"{verbs[outcome]}: {counted}, {costs}.")


def _outcome(mine: pd.DataFrame) -> str:
    """Sum up the verdicts on measures for which retraining is the goal.

    Whether a leaver is remembered or a model damaged is what most of those outside the band say;
    one that is remembered is so in part only, where at least as many measures are inside.
    """
    goal = [metric for metric in mine["metric"] if better(metric) == "retrained"]
    found = list(mine.loc[mine["metric"].isin(goal), "verdict"]) or list(mine["verdict"])
    inside, under = found.count("inside"), found.count("under-forgotten")
    over = found.count("over-forgotten") + found.count("outside")
    if under and under >= over:
        return "partly" if inside >= under else "remembers"
    if over:
        return "damaged"
    return "forgot" if inside else "undecided"


def _diverged(case: pd.DataFrame) -> int:
    """Return under how many seeds the model computes no numbers."""
    there = [name for name in DIVERGED if name in case]
    return int(case[there].isna().any(axis=1).sum()) if there else 0


def _utility(case: pd.DataFrame) -> str:
    """Compare the test accuracy with retraining's."""
    if f"{UTILITY}{GAP}" not in case:
        return "accuracy not measured"
    return utility_words(100 * float(case[f"{UTILITY}{GAP}"].mean(skipna=False)))


def utility_words(gap: float) -> str:
    """Say by how many points a model is more accurate than retraining, or less."""
    if math.isnan(gap):
        return "accuracy not comparable"
    size = number(abs(gap), 1)
    if size == "0.0":
        return "as accurate as retraining"
    return f"{size} points of accuracy {'lost' if gap < 0 else 'gained'}"


def _passes(case: pd.DataFrame, retrained: pd.DataFrame) -> str:
    """Compare the clients' passes over their data with retraining's."""
    spent = float(case["client_epochs"].mean())
    full = float(retrained["client_epochs"].mean())
    if spent == 0:
        return "no client passes at all"
    if not full > 0:
        return f"{amount(spent)} client passes"
    if math.isclose(spent, full, rel_tol=0.005):
        return "as many client passes as retraining"
    if spent < full:
        return f"{full / spent:,.1f}{TIMES} fewer client passes than retraining"
    return f"{spent / full:,.1f}{TIMES} as many client passes as retraining"


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
