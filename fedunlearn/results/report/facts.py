"""What a report says beside its numbers: capabilities, certificates, settings, glossary."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fedunlearn.results import CARDS, told_name
from fedunlearn.results.report.cells import Cell, Table, number, text
from fedunlearn.results.report.evidence import Capability, Certified

COSTS = {
    "client epochs": "One is a client who trains once on each of its own records.",
    "MB sent": "Megabytes of models that the server sent to clients and received from them.",
    "rounds": "Rounds of unlearning and of the recovery after it.",
    "MB stored": "Megabytes that the server had kept of training when the request came.",
    "retrained": "Trained again from the start without the leavers: what every strategy is "
    "compared with, and what a model that has forgotten equals.",
    "band": "Where retrained models lie that differ only in chance.",
    "Pareto front": "Those that no other strategy beats in both respects at once.",
}
"""Words of the report that are no measures."""


def capabilities(strategies: Sequence[Capability]) -> Table:
    """Return what each strategy needs and promises."""
    rows = tuple(text(c.strategy, c.idea, c.stores, c.works, c.promises) for c in strategies)
    return Table(
        name="strategies",
        caption="What each strategy asks of a federation, and what it promises",
        headings=("Strategy", "Idea", "Training stores", "Who works for it", "Promises"),
        rows=rows,
        numeric=False,
    )


def certified(certificates: Sequence[Certified]) -> Table:
    """Return the outcome of the deletion certificates: a row a strategy and request."""
    cases: dict[tuple[int, str], list[Certified]] = {}
    for one in certificates:
        cases.setdefault((one.case.request, told_name(one.case.strategy)), []).append(one)
    rows = []
    for (request, strategy), group in cases.items():
        judged = [one.forgotten for one in group if one.forgotten is not None]
        outcome = f"{sum(judged)} of {len(judged)}" if judged else "no thresholds"
        traces = sum(one.findings for one in group)
        first = group[0]
        rows.append(
            (
                Cell(strategy, href=quote(first.case.certificate_file)),
                Cell(str(request)),
                Cell(outcome),
                Cell("none" if traces == 0 else str(traces)),
            )
        )
    return Table(
        name="certificates",
        caption="Certificates: seeds within the thresholds, and traces that the audit found",
        headings=("Strategy", "Request", "Within thresholds", "Traces left"),
        rows=tuple(rows),
        notes=(
            "A certificate compares with fixed thresholds, a verdict above with the band of "
            "retrained models. They are read here, not verified: `fedunlearn verify` does that.",
        ),
        numeric=False,
    )


def settings(manifest: Mapping[str, Any]) -> Table:
    """Return every value of the configuration, and the versions it ran with."""
    parts = {"config": manifest.get("config", {}), "version": manifest.get("versions", {})}
    rows = [text(key, value) for key, value in _flat("", parts["config"])]
    rows += [text(f"version of {key}", value) for key, value in _flat("", parts["version"])]
    if manifest.get("commit"):
        rows.append(text("commit", manifest["commit"]))
    return Table(
        "settings", "All settings of the run", ("Setting", "Value"), tuple(rows), (), False
    )


def glossary(metrics: Sequence[str]) -> list[tuple[str, str]]:
    """Return each term and what it means."""
    terms = []
    for name in metrics:
        if name in CARDS:
            card = CARDS[name]
            goal = {
                "higher": "Higher is better.",
                "lower": "Lower is better.",
                "retrained": "The goal is the retrained model's value, not the lowest.",
            }[card.better]
            low, high = (_bound(bound) for bound in (card.lower_bound, card.upper_bound))
            terms.append((card.label, f"{card.meaning} From {low} to {high}. {goal}"))
    return [*terms, *COSTS.items()]


def _bound(value: float) -> str:
    if math.isinf(value):
        return "any size"
    return number(value, 0 if value == int(value) else 2)


def _flat(prefix: str, part: Any) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the value of everything in nested dicts."""
    if isinstance(part, Mapping) and part:
        for key, value in part.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), value)
    elif isinstance(part, list) and any(isinstance(value, Mapping) for value in part):
        for place, value in enumerate(part):
            yield from _flat(f"{prefix}.{place}", value)
    else:
        yield prefix, "null" if part is None else str(part)
