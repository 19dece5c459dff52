"""A certificate for people: Markdown, made of nothing but the certificate."""

import json
from collections.abc import Iterable, Iterator, Sequence

from fedunlearn.results import MINUS, amount, who
from fedunlearn.results.certificates.certificate import Certificate, Purged
from fedunlearn.results.certificates.encoding import digest, plain
from fedunlearn.results.certificates.verdicts import Judged

LISTED = 20
"""So many purged files are listed; the JSON has them all."""

NONE = "n/a"
"""Stands for a number that there is not."""


def text(certificate: Certificate) -> str:
    """Return the readable file beside a certificate's JSON, which it names by its hash."""
    return "\n".join(_lines(certificate)) + "\n"


def _lines(made: Certificate) -> Iterator[str]:
    served = made.served
    leavers = who("+".join(map(str, made.clients)))
    yield f"# Deletion certificate: {leavers}"
    yield ""
    yield (
        f"Request {made.request} of seed {made.seed}, after training round {served.round}, was "
        f"served by {made.strategy}. Issued {made.issued}."
    )
    yield ""
    yield f"**Verdict: {made.verdict}.**"
    yield ""
    yield "## Next to retraining"
    yield ""
    yield from _table(
        ("metric", "value", "retrained", "gap", "threshold", "verdict"), map(_judged, made.metrics)
    )
    yield ""
    yield "## Purged"
    yield ""
    yield from _purged(served.purged)
    yield ""
    yield "## Audit"
    yield ""
    yield (
        f"Searched {served.audit.files:,} files and {served.audit.objects:,} objects in memory: "
        + ("this is left of the leavers." if served.audit.findings else "nothing of them is left.")
    )
    yield ""
    if served.audit.blank:
        updates = "1 update" if served.audit.blank == 1 else f"{served.audit.blank:,} updates"
        yield f"Not looked for: {updates}, too short or too common to be recognised."
        yield ""
    if served.audit.findings:
        yield from (f"- {_line(finding)}" for finding in served.audit.findings)
        yield ""
    yield "## Costs"
    yield ""
    costs = [(name, amount(value)) for name, value in made.costs.items()]
    yield from _table(("cost of unlearning and recovery", "amount"), sorted(costs))
    yield ""
    yield "## Fingerprints"
    yield ""
    yield from _table(("what", "SHA-256"), _fingerprints(made))
    yield ""
    yield f"Made by fedunlearn {made.fedunlearn}, commit {made.commit or 'unknown'}. Strategy:"
    yield ""
    for name, value in sorted(served.hyperparameters.items()):
        # plain, so that it is the same before writing and after reading
        shown = json.dumps(plain(value), sort_keys=True, ensure_ascii=False)
        yield f"- {_line(name)}: `{_line(shown)}`"


def _judged(metric: Judged) -> tuple[str, ...]:
    seeds = "1 seed" if metric.seeds == 1 else f"{metric.seeds} seeds"
    spread = "" if metric.spread is None else f" ± {_number(metric.spread)} ({seeds})"
    gap = NONE if metric.gap is None else f"{metric.gap:+.4f}".replace("-", MINUS)
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


def _fingerprints(made: Certificate) -> Iterator[tuple[str, str]]:
    yield "model before", made.model_before
    yield f"model after, {made.case.model_file}", made.model_after
    yield "configuration", made.config_sha256
    yield "previous certificate", made.previous
    yield f"this certificate, {made.name}.json", digest(made)


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}".replace("-", MINUS)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{' --- |' * len(heading)}"
    for row in rows:
        yield f"| {' | '.join(_line(cell) for cell in row)} |"


def _line(text: str) -> str:
    """Keep ``text`` in its line and its cell."""
    return " ".join(text.split()).replace("|", "\\|")
