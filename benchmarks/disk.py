"""What is timed on a disk: a history's rounds and plain files, written and read."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

import torch

from fedunlearn.data import ClientId
from fedunlearn.history import Float32, RecordedRound, Recorder, Round, Updates
from fedunlearn.models import Vector, mean

PARAMETERS = 61_706
"""Of LeNet-5 on MNIST's images."""
RECORDS = 60
"""Records of each client."""
LEAVERS = frozenset({0})
"""Whose rows a replay leaves out, as every strategy's does."""


def drawn(clients: int) -> Round:
    """Draw a round of ``clients`` who trained LeNet-5: noise, which no disk can compress."""
    rng = torch.Generator().manual_seed(0)
    deltas = torch.randn(clients, PARAMETERS, generator=rng)
    sent = Updates(tuple(range(clients)), deltas, torch.full((clients,), RECORDS))
    return Round(1, sent, RECORDS * clients, torch.randn(PARAMETERS, generator=rng))


def numbered(model: Round, rounds: int) -> Iterator[Round]:
    """Yield ``model`` as so many rounds."""
    for number in range(1, rounds + 1):
        yield replace(model, number=number)


def record(folder: Path, rounds: Iterable[Round]) -> None:
    """Write rounds as a run does, and return once the disk has them."""
    with Recorder(folder, Float32()) as recorder:
        for done in rounds:
            recorder.record(done)


def write(
    files: Iterable[Path], content: bytes, times: int = 1, sync: Callable[[int], None] = os.fsync
) -> None:
    """Write ``content`` so many times into each file, and let the disk have one after the other."""
    for file in files:
        with file.open("wb") as stream:
            for _ in range(times):
                stream.write(content)
            stream.flush()
            sync(stream.fileno())


def replay(rounds: Iterable[RecordedRound], leavers: Set[ClientId] = LEAVERS) -> Vector:
    """Add up the mean updates of those who remain, [d]: what all replays do besides training."""
    total = torch.zeros(PARAMETERS)
    for stored in rounds:
        kept = stored.without(leavers).updates
        total += mean(kept.deltas, kept.examples)
    return total


def read(files: Iterable[Path]) -> None:
    """Read files from end to end, a mebibyte at a time."""
    buffer = bytearray(2**20)
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def drop(files: Sequence[Path]) -> bool:
    """Drop files that the disk has from the system's cache; say whether it could be done."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for file in files:
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return not any(_cached(file) for file in files)


def _cached(file: Path) -> bool:
    """Say whether a file's first page is in memory: whether reading it need not wait."""
    with file.open("rb", buffering=0) as stream:
        try:
            return os.preadv(stream.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) > 0
        except OSError:
            return False
