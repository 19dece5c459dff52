"""One answer a strategy: whether its models can be told from retrained ones, in one word.

docs/verdicts.md says how the words come about, and how often they are wrong.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from fedunlearn.results.branches import RETRAIN, RETRAIN_AGAIN, UNTOUCHED
from fedunlearn.results.columns import ANSWER_COLUMNS, GAP_SUFFIX
from fedunlearn.results.comparisons import Comparison, comparisons
from fedunlearn.results.joint_test import LEVEL
from fedunlearn.results.looks import in_order
from fedunlearn.results.margins import UTILITY_METRIC, Margins
from fedunlearn.results.metric_cards import card_or_plain
from fedunlearn.results.permutation_test import enough, fewest_references
from fedunlearn.results.power import power
from fedunlearn.results.references import other_references
from fedunlearn.results.run_files import metric_columns
from fedunlearn.results.wording import (
    NOBODY_NAMED,
    Wish,
    counted,
    plain_label,
)

NO_VERDICT = "no verdict"
"""The answer where a retrained model is no working model."""

SHIFT = 2.0
"""The shift in standard deviations of retraining for which a design's power is told."""


def answers(
    summary: pd.DataFrame,
    clients: pd.DataFrame,
    margins: Margins | None = None,
    owners: Mapping[int, str] = NOBODY_NAMED,
) -> pd.DataFrame:
    """Return a row for each request and strategy of a run's ``summary``: see `ANSWER_COLUMNS`.

    ``clients`` is the run's clients.csv: it tells which share of records the largest class has,
    which a reference must beat. The strategy `RETRAIN_AGAIN` is one retrained model a seed, judged
    by the others, and `UNTOUCHED` the model that forgot nothing: the two ends of the scale.
    ``owners`` are what people call clients.
    """
    limits = margins or Margins()
    rows: list[dict[str, object]] = []
    for request, served in summary.groupby("request") if len(summary) else ():
        answered = list(_of_request(served, majority(clients), limits, owners))
        rows += [{"request": request, **row} for row in answered]
    table = pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))
    return table.astype({name: kind for name, kind in ANSWER_COLUMNS.items() if kind != "str"})


def majority(clients: pd.DataFrame) -> float:
    """Return the share of the largest class among records held out, as a model's accuracy goes.

    What clients train on may be poisoned; it counts where nothing is held out.
    """
    counts = clients.groupby("label")[["train", "heldout"]].sum()
    column = counts["heldout"] if counts["heldout"].sum() else counts["train"]
    return float(column.max() / column.sum()) if column.sum() else 0.0


def _of_request(
    served: pd.DataFrame, largest_class: float, margins: Margins, owners: Mapping[int, str]
) -> Iterator[dict[str, object]]:
    cases = list(comparisons(served))
    useless = _useless(served, largest_class)
    untouched = next((case for case in cases if case.strategy == UNTOUCHED), None)
    twins = _twins(served)
    leavers = Wish.of(served, owners).what
    for case in cases:
        word, reason = _word(case, untouched, useless, margins, leavers)
        twin = twins.get(case.strategy)
        same = f" Its models are those of {twin}." if twin else ""
        yield {
            "strategy": case.strategy,
            "answer": word,
            "p_value": case.p_value if case.can_decide else math.nan,
            "apart": "+".join(case.apart) if case.can_decide else "",
            "to_forget": "" if untouched is None else _to_forget(untouched),
            "reason": f"{reason}{same}",
            **next_to_retraining(served, case.strategy),
        }


def _word(
    case: Comparison, untouched: Comparison | None, useless: str, margins: Margins, leavers: str
) -> tuple[str, str]:
    """Return the word for a strategy, and a sentence that says why."""
    if useless:
        return NO_VERDICT, useless
    lost = broken(case, margins)
    if lost:
        return "broken", lost
    if not case.can_decide:
        return "undecided", _more_models(case)
    about = untouched if untouched is not None and untouched.can_decide else None
    if about is not None and about.p_value > LEVEL:
        measures = len(about.telling)
        likelihood = power(SHIFT, case.seeds, case.references, measures)
        return "nothing to forget", (
            f"The untouched model passes for one that never met {leavers}: no method can be "
            f"told from another here (a shift of {SHIFT:g} standard deviations would be seen in "
            f"{likelihood:.0%} of runs)."
        )
    if case.p_value <= LEVEL:
        return _direction(case)
    return _equivalence(case, about, margins)


def broken(case: Comparison, margins: Margins) -> str:
    """Say what is lost where utility is below retraining's by more than its margin."""
    if any(not one.finite for one in case.measures.values()):
        odd = next(m for m, one in case.measures.items() if not one.finite)
        return f"Its {plain_label(odd)} is not a number: the model no longer computes."
    utility = case.measures.get(UTILITY_METRIC)
    if utility is not None and utility.gap < -margins.utility:
        return (
            f"It lost {-100 * utility.gap:.1f} points of test accuracy; more than "
            f"{100 * margins.utility:g} (answer.utility) is no working model."
        )
    return ""


def _direction(case: Comparison) -> tuple[str, str]:
    """Say whether a model that is told apart remembers or is damaged, by the surest measure."""
    metric = case.apart[0]
    one = case.measures[metric]
    more = one.remembers
    if more is None:  # who serves everybody else better than retraining, still has what was to go
        more = (one.gap > 0) == (card_or_plain(metric).better == "higher")
    word = "remembers" if more else "damaged"
    side = "above" if one.gap > 0 else "below"
    size = f"{abs(one.gap) / one.sd:.1f} standard deviations" if one.sd > 0 else "clearly"
    return word, (
        f"Its {plain_label(metric)} lies {size} {side} retraining's "
        f"({_chance(case.adjusted[metric])}, with allowance for {len(case.telling)} measures)."
    )


def _equivalence(
    case: Comparison, untouched: Comparison | None, margins: Margins
) -> tuple[str, str]:
    """Say ``as retrained`` where every measure that can fail lies within its margin."""
    asked = _can_fail(case, untouched, margins)
    if not asked:
        return "undecided", "No measure about the leavers can tell here. Plant a backdoor, say."
    open_ones = [m for m in asked if not case.measures[m].equivalent(margins)]
    if not open_ones:
        return "as retrained", (
            f"All {len(asked)} measures about the leavers that could tell lie within "
            f"{margins.spread:g} standard deviations of retraining (answer.spread)."
        )
    return "undecided", (
        f"Not told apart, but {_listed(open_ones)} may lie outside the margin. "
        f"{_seeds_to_decide(case, open_ones, margins)}"
    )


def _can_fail(case: Comparison, untouched: Comparison | None, margins: Margins) -> list[str]:
    """Return the measures about the leavers by which a model that forgot nothing would fail."""
    about = [m for m in case.measures if card_or_plain(m).about_leavers]
    if untouched is None:
        return [m for m in about if not case.measures[m].constant]
    shown = untouched.measures
    return [m for m in about if m in shown and not shown[m].equivalent(margins)]


def _seeds_to_decide(case: Comparison, open_ones: Sequence[str], margins: Margins) -> str:
    """Say how many seeds would decide, if all went on as it began."""
    needed = 0.0
    for metric in open_ones:
        one = case.measures[metric]
        room = one.margin(margins) - abs(one.gap)
        low, high = one.interval
        width = (high - low) / 2
        needed = max(needed, math.inf if not room > 0 else (width / room) ** 2)
    if not math.isfinite(needed) or not needed:
        return "More seeds would decide."
    seeds = math.ceil(case.seeds * max(needed, (case.seeds + 1) / case.seeds))
    return f"About {seeds} seeds would decide."


def _more_models(case: Comparison) -> str:
    """Say which design could tell a difference from chance."""
    references = fewest_references(case.seeds)
    seeds = next(n for n in range(1, 20) if enough(n, case.references))
    return (
        f"{counted(case.seeds, 'seed')} with {counted(case.references, 'retrained model')} each "
        f"cannot tell anything from chance; references={references} or {seeds} seeds could."
    )


def _useless(served: pd.DataFrame, largest_class: float) -> str:
    """Say why there is nothing to compare with, where a reference is no working model."""
    for name in other_references("", served["strategy"]):
        rows = served[served["strategy"] == name]
        if UTILITY_METRIC not in rows:
            continue
        accuracy = rows[UTILITY_METRIC].to_numpy(float)
        loss = rows.get("test_loss", rows[UTILITY_METRIC]).to_numpy(float)
        for seed, share, nats in zip(rows["seed"], accuracy, loss, strict=True):
            if not (math.isfinite(share) and math.isfinite(nats)):
                return f"The retrained model of seed {seed} ({name}) computes no numbers."
            if share <= largest_class:
                return (
                    f"The retrained model of seed {seed} ({name}) is right on {share:.1%} of the "
                    f"test records, no better than naming the largest class ({largest_class:.1%})."
                )
    return ""


def _to_forget(untouched: Comparison) -> str:
    if not untouched.can_decide:
        return "unknown"
    return "yes" if untouched.p_value <= LEVEL else "no"


def _twins(served: pd.DataFrame) -> dict[str, str]:
    """Return for each strategy an earlier one with the same numbers: the same model."""
    metrics = metric_columns(served)
    first: dict[tuple[object, ...], str] = {}
    twins = {}
    for name in in_order(served["strategy"].unique()):
        rows = served[served["strategy"] == name].sort_values("seed")
        numbers = tuple(rows[metrics].to_numpy(float).round(12).ravel().astype(str))
        twin = first.setdefault(numbers, str(name))
        if twin != name:
            twins[str(name)] = twin
    return twins


def next_to_retraining(served: pd.DataFrame, strategy: str) -> dict[str, float]:
    """Return the accuracy gained, and work and bytes as multiples of retraining's."""
    retrained = served[served["strategy"] == RETRAIN]
    names = (
        other_references(RETRAIN, served["strategy"])[:1]
        if strategy == RETRAIN_AGAIN
        else [strategy]
    )
    mine = served[served["strategy"].isin(names)]
    sent, full = (rows["bytes_down"] + rows["bytes_up"] for rows in (mine, retrained))
    gap = (
        mine[f"{UTILITY_METRIC}{GAP_SUFFIX}"].mean(skipna=False)
        if f"{UTILITY_METRIC}{GAP_SUFFIX}" in mine
        else math.nan
    )
    return {
        "accuracy_gap": float(gap),
        "work": _ratio(mine["client_epochs"].mean(), retrained["client_epochs"].mean()),
        "bytes": _ratio(sent.mean(), full.mean()),
    }


def _ratio(part: float, full: float) -> float:
    return float(part / full) if full else math.nan


def _chance(p_value: float) -> str:
    return "p < 0.1%" if p_value < 0.001 else f"p = {p_value:.1%}"


def _listed(metrics: Sequence[str]) -> str:
    named = [plain_label(metric) for metric in metrics[:2]]
    more = len(metrics) - len(named)
    return " and ".join([*named, *([f"{more} more"] if more else [])])
