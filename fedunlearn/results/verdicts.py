"""Whether a strategy's models could pass for retrained ones: a verdict for each metric.

docs/verdicts.md says what verdicts mean, and what they do not.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd

from fedunlearn import checks
from fedunlearn.results.branches import AGAIN, is_reference
from fedunlearn.results.looks import in_order
from fedunlearn.results.metric_cards import card_or_plain
from fedunlearn.results.permutation_test import (
    CONFIDENCE,
    Exchanged,
    Values,
    enough,
    exchange,
    margin,
)
from fedunlearn.results.references import other_references
from fedunlearn.results.run_files import CASE, COSTS, GAP, VERDICTS
from fedunlearn.results.wording import DID_NOT_TAKE

Verdict = Literal["inside", "over-forgotten", "under-forgotten", "outside", "undecided"]

BY_CHANCE = (
    "Each verdict is at 95 % confidence by itself: of 20 measures, chance alone puts about one "
    "outside the band, even for a model that was retrained."
)
"""How to read many verdicts together."""


NOT_INSIDE = ("under-forgotten", "over-forgotten", "outside", "undecided")


def judge(summary: pd.DataFrame, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Return a row for each request, strategy and metric of a run's ``summary``: see `VERDICTS`.

    ``value`` and ``reference`` are means over seeds; retrained models lie between ``low`` and
    ``high`` (see `margin`); the gap stands with its interval and p-value (see `exchange`). The
    strategy `AGAIN` is one retrained model a seed, judged by the others. A metric has no row where
    `enough` says that there are too few models, and is ``undecided`` where a value is no number.
    Seeds whose probe did not take do not count for the success of the attack, and metrics whose
    card says so are not judged.
    """
    checks.number("confidence", confidence, above=0, below=1)
    rows = [] if summary.empty else list(_rows(summary, confidence))
    table = pd.DataFrame(rows, columns=list(VERDICTS))
    return table.astype({name: kind for name, kind in VERDICTS.items() if kind != "str"})


def _rows(summary: pd.DataFrame, confidence: float) -> Iterator[dict[str, object]]:
    fixed = {"run", *CASE, *COSTS}
    measured = [m for m in map(str, summary) if m not in fixed and not m.endswith(GAP)]
    metrics = [metric for metric in measured if card_or_plain(metric).judged]
    for request, served in summary.groupby("request"):
        names = served["strategy"].unique()
        references = [name for name in names if is_reference(name)]
        if not references:
            continue
        others = [name for name in in_order(names) if name not in references]
        second = references[1:2]  # compared with the others of its seed
        again = [(AGAIN, name, other_references(name, references)) for name in second]
        cases = [*again, *((name, name, references) for name in others)]
        by_case = served.set_index(["seed", "strategy"])
        probes, tables = by_case["probe"].unstack(), {m: by_case[m].unstack() for m in metrics}
        for (label, judged, by), metric in product(cases, metrics):
            table = tables[metric]
            if card_or_plain(metric).planted:
                table = table[probes[judged] != DID_NOT_TAKE]
            compares = table[references[0]].isna().all()
            known = [name for name in by if table[name].notna().any()]
            if table[judged].notna().any() and enough(len(table), len(known), confidence):
                values, retrained = table[judged].to_numpy(), table[known].to_numpy()
                found = _judged(metric, values, retrained, confidence, compares=compares)
                yield {"request": request, "strategy": label, "metric": metric, **found}


def _judged(
    metric: str, values: Values, references: Values, confidence: float, *, compares: bool
) -> dict[str, object]:
    mean = {"value": float(values.mean()), "reference": float(references.mean())}
    if not (np.isfinite(values).all() and np.isfinite(references).all()):
        return {**mean, "verdict": "undecided"}
    found, width = exchange(values, references, confidence), margin(references, confidence)
    card = card_or_plain(metric)
    bounds = card.lower_bound, card.upper_bound
    low, high = np.clip([mean["reference"] - width, mean["reference"] + width], *bounds)
    return {
        **mean,
        "low": low,
        "high": high,
        "gap": found.gap,
        "gap_low": found.low,
        "gap_high": found.high,
        "p_value": found.p_value,
        "verdict": verdict(metric, found, width, confidence, compares=compares),
    }


def verdict(
    metric: str, found: Exchanged, width: float, confidence: float, *, compares: bool
) -> Verdict:
    """Return what a test says of a metric, whose `margin` is ``width``.

    Outside is what is significant; inside is an interval of the gap that lies within the margin.
    A metric that ``compares`` with the first reference is outside only where it is farther from
    that than other references are, not where it is nearer.
    """
    card = card_or_plain(metric)
    nearer = {"lower": -1, "higher": 1}.get(card.better if compares else "", 0)
    significant = found.p_value <= 1 - confidence + 1e-9
    if significant and np.sign(found.gap) != nearer:
        if card.remembered is None:
            return "outside"
        more = (found.gap > 0) == (card.remembered == "higher")
        return "under-forgotten" if more else "over-forgotten"
    slack = 1e-9 * abs(width)
    within_low = nearer < 0 or found.low >= -width - slack
    within_high = nearer > 0 or found.high <= width + slack
    return "inside" if within_low and within_high and not math.isnan(width) else "undecided"


def sentences(verdicts: pd.DataFrame) -> list[str]:
    """Say in a sentence a strategy and request on how many measures it passes, and where not.

    Measures about the leavers are counted by themselves: accuracy for everybody else is no sign of
    forgetting.
    """
    said = []
    several = verdicts["request"].nunique() > 1
    for (request, strategy), rows in verdicts.groupby(["request", "strategy"], sort=False):
        by = {name: list(part["metric"]) for name, part in rows.groupby("verdict")}
        inside, leavers = by.get("inside", []), sum(map(about_leavers, rows["metric"]))
        told = f", on {sum(map(about_leavers, inside))} of the {leavers} about the leavers"
        parts = [f"inside the retrained band on {len(inside)} of {len(rows)} measures"]
        parts[0] += told if 0 < leavers < len(rows) else ""
        parts += [f"{name} on {_listed(by[name])}" for name in NOT_INSIDE if name in by]
        after = f", request {request}" if several else ""
        said.append(f"{strategy}{after}: {'; '.join(parts)}.")
    return said


def about_leavers(metric: str) -> bool:
    """Whether a metric looks at those who left, and not at how everybody else is served."""
    return card_or_plain(metric).about_leavers


def _listed(metrics: Sequence[str], most: int = 3) -> str:
    """Name some metrics, and count the others."""
    plain = [_plain(card_or_plain(name).label) for name in metrics]
    shown = plain if len(plain) <= most + 1 else [*plain[:most], f"{len(plain) - most} others"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _plain(label: str) -> str:
    """Write a label without its unit and its commas, for the middle of a sentence."""
    what, _, where = label.partition(" (")[0].partition(", ")
    return what[0].lower() + what[1:] + (f" ({where})" if where else "")
