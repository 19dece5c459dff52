"""What an audit says when something is left."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from fedunlearn.history.audit.fingerprints import Mark

Channel = Literal[
    "stored update",
    "local model",
    "raw records",
    "partial file",
    "orphaned round",
    "cache entry",
    "other file",
    "server state",
    "unreadable",
]
"""Where something hides, or what it is where that says more."""

LISTED = 3
"""So many rounds or records are listed; more are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that should not be there."""

    channel: Channel
    where: str
    """The file, or the path of references to the object."""
    what: str
    """A sentence."""


def named(place: Channel, where: str, marks: Iterable[Mark]) -> Iterator[Finding]:
    """Yield a finding for each client and kind among ``marks``, all found in one place.

    Updates and statistics go by the place, a local model and records by what they are.
    """
    ordered = sorted(marks, key=lambda mark: (mark.kind, mark.client))
    for (kind, client), its in groupby(ordered, lambda mark: (mark.kind, mark.client)):
        group = list(its)
        numbers = sorted({mark.number for mark in group})
        forms = ", ".join(sorted({mark.form for mark in group}))
        if kind == "raw records":
            whose = f"{_listed('record', numbers)} of client {client}"
        elif kind == "statistics":
            whose = f"the statistics of client {client}"
        else:
            whose = f"the {kind} of client {client} from {_listed('round', numbers)}"
        channel = kind if kind in ("local model", "raw records") else place
        yield Finding(channel, where, f"{where} still holds {whose} ({forms}).")


def clients(ids: Iterable[int]) -> str:
    """Return ``client 2``, or ``clients 2 and 5``."""
    return _listed("client", sorted(ids))


def _listed(word: str, numbers: Sequence[int]) -> str:
    """Return ``round 3``, ``rounds 3 and 5``, or ``17 rounds``."""
    if len(numbers) > LISTED:
        return f"{len(numbers)} {word}s"
    *first, last = map(str, numbers)
    return f"{word}s {', '.join(first)} and {last}" if first else f"{word} {last}"
