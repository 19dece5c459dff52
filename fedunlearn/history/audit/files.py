"""The search through files: every byte of every one, and whether it should be there at all."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from fedunlearn.data import ClientId
from fedunlearn.files import DamagedFile
from fedunlearn.history import RecordedRound, on_disk, round_files
from fedunlearn.history.audit.findings import Channel, Finding, clients, named
from fedunlearn.history.audit.fingerprints import Fingerprints, Mark
from fedunlearn.sealed_files import PARTIAL

BLOCK = 2**23
"""Bytes of a file that are read at once."""

Searched = tuple[int, int, tuple[Finding, ...]]
"""How many files, how many bytes, and what was found."""


def files_of(rounds: Iterable[RecordedRound]) -> dict[Path, frozenset[ClientId]]:
    """Return the files that rounds are read from, and whose updates are shown of each.

    Waits for those that are being written.
    """
    stored = (on_disk(kept) for kept in rounds)
    return {each.path: frozenset(each.clients) for each in stored if each is not None}


def search_files(
    folder: Path,
    fingerprints: Fingerprints,
    claimed: Mapping[Path, Set[ClientId]],
    *,
    rounds: Path | None = None,
    caches: Sequence[Path] = (),
) -> Searched:
    """Search every file below ``folder`` and below the further folders ``caches``.

    ``claimed`` are the files of the present history and whose updates each shows: below ``rounds``
    (``folder`` by default) any other file of a round is an orphan, and none may name one of the
    leavers but in an update that is shown, which that client sent since. What is half written is
    a finding whatever it holds.
    """
    excepted = {path.resolve(): clients for path, clients in claimed.items()}
    below = (rounds or folder).resolve()
    count = total = 0
    findings: list[Finding] = []
    for top, elsewhere in [(folder, False), *((cache, True) for cache in caches)]:
        for path in _walk(top):
            ours = elsewhere or path.resolve().is_relative_to(below)
            place = _place(path, path.resolve() in excepted, elsewhere, ours)
            try:
                nbytes, marks = _scan(path, fingerprints)
                count, total = count + 1, total + nbytes
                findings += [*named(place, str(path), marks), *_standing(path, place)]
                if ours and _is_round(path):
                    since = excepted.get(path.resolve(), frozenset())
                    findings += _naming(path, place, fingerprints.leavers - since)
            except FileNotFoundError:
                continue  # a temporary one
            except (OSError, DamagedFile) as error:
                what = f"{path} cannot be searched: {getattr(error, 'strerror', None) or error}"
                findings.append(Finding("unreadable", str(path), f"{what.rstrip('.')}."))
    return count, total, tuple(findings)


def _walk(top: Path) -> Iterator[Path]:
    """Yield all files below ``top``, in folders behind links too, in order."""
    entered: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(top, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        # opening a pipe would wait for a writer
        yield from (path for name in sorted(names) if (path := Path(folder, name)).is_file())


def _place(path: Path, claimed: bool, elsewhere: bool, ours: bool) -> Channel:
    if elsewhere:
        return "cache entry"
    if path.name.endswith(PARTIAL):
        return "partial file"
    if claimed:
        return "stored update"
    return "orphaned round" if ours and _is_round(path) else "other file"


def _is_round(path: Path) -> bool:
    return path.match("round-*.safetensors")


def _standing(path: Path, place: Channel) -> Iterator[Finding]:
    """Yield what is wrong with a file's being there."""
    if path.name.endswith(PARTIAL):
        what = f"{path} is half written and was left behind: delete it."
        yield Finding(place, str(path), what)
    elif place == "orphaned round":
        yield Finding(place, str(path), f"{path} is no round of the present history: delete it.")


def _naming(path: Path, place: Channel, leavers: Set[ClientId]) -> Iterator[Finding]:
    """Yield whether a round names a leaver, whatever its bytes; raises `DamagedFile`."""
    listed = leavers & set(round_files.open_round(path).clients)
    if listed:
        yield Finding(place, str(path), f"{path} still lists {clients(listed)}.")


def _scan(path: Path, fingerprints: Fingerprints) -> tuple[int, set[Mark]]:
    """Return the size of a file and what it holds; blocks overlap by the longest window."""
    overlap = fingerprints.longest
    held = np.empty(overlap + min(BLOCK, path.stat().st_size + 1), np.uint8)
    marks: set[Mark] = set()
    total = filled = 0
    with path.open("rb", buffering=0) as stream:
        while read := stream.readinto(held[filled:].data):
            total, filled = total + read, filled + read
            marks |= fingerprints.marks_in(held[:filled])
            tail = held[max(0, filled - overlap) : filled].copy()
            filled = len(tail)
            held[:filled] = tail
    return total, marks
