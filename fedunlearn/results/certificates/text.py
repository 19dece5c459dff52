"""A certificate for people: Markdown, made of nothing but the certificate."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fedunlearn.results import MINUS_SIGN, amount
from fedunlearn.results.certificates.certificate import Audited, Certificate, Purged
from fedunlearn.results.certificates.encoding import digest, plain
from fedunlearn.results.certificates.thresholds import Judged

LISTED = 20
"""So many purged files are listed; the JSON has them all."""

NONE = "n/a"
"""Stands for a number that there is not."""


def text(certificate: Certificate) -> str:
    """Return the readable file beside a certificate's JSON, which it names by its hash."""
    return "\n".join(_lines(certificate)) + "\n"


def _lines(made: Certificate) -> Iterator[str]:
    yield f"# Deletion certificate: {made.wish.what}"
    yield ""
    yield (
        f"Request {made.request} of seed {made.seed}, after training round {made.served.round}, "
        f"was served by {made.strategy}. Issued {made.issued}."
    )
    yield ""
    if not made.wish.whole:
        yield (
            "Only these records were to be forgotten: with what they hold besides, those who asked "
            "stay in training."
        )
        yield ""
    yield f"**Verdict: {made.verdict}.**"
    yield ""
    if made.answer:
        yield f"The run's answer: {made.answer}. {made.reason}"
        yield ""
    if made.served.assumptions:
        yield from _assumed(made)
    for heading, lines in _sections(made).items():
        yield f"## {heading}"
        yield ""
        yield from lines
        yield ""
    yield from _origin(made)


def _sections(made: Certificate) -> Mapping[str, Iterable[str]]:
    """Return the lines below each heading."""
    compared = ("metric", "value", "retrained", "gap", "threshold", "verdict")
    costs = sorted((name, amount(value)) for name, value in made.costs.items())
    return {
        "Next to retraining": _table(compared, map(_judged, made.metrics)),
        "Purged": _purged(made.served.purged),
        "Audit": _audited(made.served.audit),
        "Costs": _table(("cost of unlearning and recovery", "amount"), costs),
        "Fingerprints": _table(("what", "SHA-256"), _fingerprints(made)),
    }


def _assumed(made: Certificate) -> Iterator[str]:
    yield f"## What the promise of {made.strategy} assumes"
    yield ""
    yield "Its (epsilon, delta) holds only if all of this does, which nothing here shows:"
    yield ""
    yield from (f"- {_line(assumption)}" for assumption in made.served.assumptions)
    yield ""


def _judged(metric: Judged) -> tuple[str, ...]:
    seeds = "1 seed" if metric.seeds == 1 else f"{metric.seeds} seeds"
    spread = "" if metric.spread is None else f" ± {_number(metric.spread)} ({seeds})"
    gap = NONE if metric.gap is None else f"{metric.gap:+.4f}".replace("-", MINUS_SIGN)
    verdict = metric.verdict if metric.conclusive else "not judged: the probe did not take"
    return (
        *(metric.metric, _number(metric.value), _number(metric.retrained) + spread, gap),
        *(_number(metric.threshold), verdict),
    )


def _purged(purged: Sequence[Purged]) -> Iterator[str]:
    if not purged:
        yield "No file was rewritten or deleted."
        return
    rows = [
        (p.file, " ".join(map(str, p.clients)), f"{p.bytes:,}", p.action) for p in purged[:LISTED]
    ]
    yield from _table(("file", "clients", "bytes", "action"), rows)
    yield ""
    more = len(purged) - LISTED
    also = f", {more:,} of them not listed here" if more > 0 else ""
    yield f"{sum(p.bytes for p in purged):,} bytes in {len(purged):,} files{also}."


def _audited(audit: Audited) -> Iterator[str]:
    left = "this is left of the leavers." if audit.findings else "nothing of them is left."
    files, objects = f"{audit.files:,} files", f"{audit.objects:,} objects"
    yield f"Searched {files} and all that {objects} in memory lead to: {left}"
    if audit.blank:
        updates = "1 update" if audit.blank == 1 else f"{audit.blank:,} updates"
        yield ""
        yield f"Not looked for: {updates}, too short or too common to be recognised."
    if audit.findings:
        yield ""
        yield from (f"- {_line(finding)}" for finding in audit.findings)


def _fingerprints(made: Certificate) -> Iterator[tuple[str, str]]:
    yield "model before", made.model_before
    yield f"model after, {made.case.model_file}", made.model_after
    yield "configuration", made.config_sha256
    yield "previous certificate", made.previous
    yield f"this certificate, {made.name}.json", digest(made)


def _origin(made: Certificate) -> Iterator[str]:
    """Say what code made it, and with which hyperparameters the strategy ran."""
    yield f"Made by fedunlearn {made.fedunlearn}, commit {made.commit or 'unknown'}. Strategy:"
    yield ""
    for name, value in sorted(made.served.hyperparameters.items()):
        # plain, so that it is the same before writing and after reading
        shown = json.dumps(plain(value), sort_keys=True, ensure_ascii=False)
        yield f"- {_line(name)}: `{_line(shown)}`"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}".replace("-", MINUS_SIGN)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{' --- |' * len(heading)}"
    for row in rows:
        yield f"| {' | '.join(_line(cell) for cell in row)} |"


def _line(text: str) -> str:
    """Keep ``text`` in its line and its cell."""
    return " ".join(text.split()).replace("|", "\\|")
