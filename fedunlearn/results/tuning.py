"""How near to retraining the settings of a strategy come: what `fedunlearn tune` chooses by."""

import math
from collections.abc import Mapping
from operator import itemgetter
from statistics import fmean
from typing import NamedTuple

import pandas as pd
from rich.table import Table

from fedunlearn.results.answering import broken, next_to_retraining
from fedunlearn.results.comparisons import Comparison, comparisons
from fedunlearn.results.margins import Margins
from fedunlearn.results.terminal import terminal_table
from fedunlearn.results.wording import plain_label

TRIALS_FILE = "trials.csv"
"""A row for each setting of each strategy that was tried."""

TRIAL_COLUMNS = {
    "strategy": "str",
    "trial": "int64",
    "settings": "str",
    "broken": "bool",
    "distance": "float64",
    "worst": "str",
    "mean": "float64",
    "accuracy_gap": "float64",
    "work": "float64",
    "bytes": "float64",
    "chosen": "bool",
}
"""Its columns, and their types; trial 0 is the strategy as its YAML says it."""

TUNING_LEGEND = (
    "Distance: the largest gap to retraining, in margins (answer.spread), over all measures that "
    "can tell; 1 or less lies within the margin everywhere. Points: test accuracy gained. Work: "
    "epochs of clients, next to retraining's."
)
"""How to read the table."""


class Distance(NamedTuple):
    """How far a strategy's models are from retrained ones, in margins."""

    largest: float
    """``max_m |gap_m| / margin_m`` over the measures m that can tell."""
    worst: str
    """That measure."""
    mean: float
    """The mean over them."""


def distance(case: Comparison, margins: Margins) -> Distance:
    """Return how many margins away from retraining a strategy is on the measures that can tell.

    Lower is nearer to retraining; up to 1, every gap lies within its margin. It is infinite for a
    model that computes no numbers, and where all retrained models agree, but not with this one.
    """
    telling = [m for m, one in case.measures.items() if not (one.finite and one.constant)]
    away = {m: _in_margins(case, m, margins) for m in telling}
    if not away:
        return Distance(0.0, "", 0.0)
    worst = max(away, key=lambda m: away[m])
    return Distance(away[worst], worst, fmean(away.values()))


def _in_margins(case: Comparison, metric: str, margins: Margins) -> float:
    one = case.measures[metric]
    if not one.finite:
        return math.inf
    width = one.margin(margins)
    return abs(one.gap) / width if width > 0 else math.inf


def trial_table(
    summary: pd.DataFrame, trials: Mapping[str, tuple[str, int, str]], margins: Margins
) -> pd.DataFrame:
    """Return a row (`TRIAL_COLUMNS`) a trial, of each strategy the nearest to retraining chosen.

    ``trials`` says of each name in the ``summary`` which strategy it is, the number of the trial
    and its settings. Distances are means over requests. A model that is broken at one of them comes
    after all that are not; of those with the same largest distance the one with the least mean is
    chosen, then the one with less work, then the earlier.
    """
    cases: dict[str, list[tuple[bool, Distance]]] = {name: [] for name in trials}
    beside: dict[str, list[Mapping[str, float]]] = {name: [] for name in trials}
    for _, served in summary.groupby("request"):
        for case in comparisons(served):
            if case.strategy in trials:
                lost = bool(broken(case, margins))
                cases[case.strategy].append((lost, distance(case, margins)))
                beside[case.strategy].append(next_to_retraining(served, case.strategy))
    rows = [
        {
            **dict(zip(("strategy", "trial", "settings"), trials[name], strict=True)),
            "broken": any(lost for lost, _ in cases[name]),
            "distance": fmean(away.largest for _, away in cases[name]),
            "worst": max((away for _, away in cases[name]), key=itemgetter(0)).worst,
            "mean": fmean(away.mean for _, away in cases[name]),
            **pd.DataFrame(beside[name]).mean().to_dict(),
            "chosen": False,
        }
        for name in trials
    ]
    table = pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)).astype(
        {name: kind for name, kind in TRIAL_COLUMNS.items() if kind != "str"}
    )
    return nearest(table)


def nearest(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the ``trials`` with the nearest of each strategy ``chosen``, as `trial_table` says."""
    table = trials.assign(chosen=False)
    rounded = table.round({"distance": 9, "mean": 9})  # sums of the same numbers in another order
    order = ["broken", "distance", "mean", "work", "trial"]
    ranked = rounded.sort_values(order, kind="stable")
    table.loc[ranked.groupby("strategy").head(1).index, "chosen"] = True
    return table


def printed_trials(table: pd.DataFrame) -> Table:
    """Return a row a strategy: how near it came untuned and tuned, and by what; 80 columns."""
    headings = ["Untuned\ndistance", "Tuned\ndistance", "\nPoints", "\nWork", "\nTried"]
    shown = terminal_table("\nStrategy", headings, title="Nearest to retraining")
    shown.add_column("\nSettings", overflow="fold")
    for name, rows in table.groupby("strategy", sort=False):
        first, best = rows[rows["trial"] == 0].iloc[0], rows[rows["chosen"]].iloc[0]
        shown.add_row(
            str(name),
            _away(first),
            _away(best),
            f"{100 * best['accuracy_gap']:+.1f}",
            f"{best['work']:.0%}",
            str(len(rows)),
            best["settings"] or "as they were",
        )
    return shown


def _away(trial: pd.Series) -> str:
    return "broken" if trial["broken"] else f"{trial['distance']:.{1 if trial['worst'] else 3}f}"


def worst_measures(table: pd.DataFrame) -> str:
    """Say which measures keep the tuned strategies from retraining, and how many of them."""
    far = table[table["chosen"] & (table["distance"] > 1)]
    if far.empty:
        return "Every strategy has settings within the margins of retraining on these seeds."
    counts = far["worst"].value_counts()
    named = ", ".join(f"{plain_label(str(metric))} ({count})" for metric, count in counts.items())
    return f"What is farthest from retraining in those beyond 1: {named}."
