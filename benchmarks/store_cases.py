"""What is timed of the history on disk, case by case, and in turns."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import disk
from benchmarks.processes import Player
from benchmarks.workloads import lenet5
from fedunlearn.history import Needs, open_rounds

WRITING, COLD, WARM, TRAINING = "writing", "reading, cold", "reading, warm", "training"
UNITS = {WRITING: "MB/s", COLD: "MB/s", WARM: "MB/s", TRAINING: "ms a round"}
PLAIN, ONE_FILE, RECORDER = "plain, a file a round", "plain, one file", "recorder"
ALL_ROWS, REPLAY = "all rows", "without the leaver"
OPENED = "verified, without the leaver"
NEEDS = {"history=none": Needs(), "history=disk": Needs(updates=True, models=True)}

Case = tuple[str, str]
"""Measure and contender."""
Values = dict[Case, list[float]]
"""What every repetition gave, in the measure's unit."""
Lap = Callable[[], float]
"""Does something once, cleans up, and returns its value in the measure's unit."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is recorded, and in which folder."""

    folder: Path
    clients: int
    rounds: int

    @property
    def nbytes(self) -> int:
        """Bytes of all updates and models."""
        return 4 * disk.PARAMETERS * (self.clients + 1) * self.rounds


@contextmanager
def laps(size: Size) -> Iterator[dict[Case, Lap]]:
    """Record rounds to be read and start those who train, for as long as the block runs."""
    model, stored = disk.drawn(size.clients), size.folder / "stored"
    disk.record(stored, disk.numbered(model, size.rounds))
    with ExitStack() as stack:
        yield _writing(size, stored) | _reading(stored) | _training(size, stack)
    shutil.rmtree(stored)


def interleaved(cases: Mapping[Case, Lap], repetitions: int) -> Values:
    """Let every case have one lap a repetition, in an order shuffled by a fixed seed.

    One repetition more comes first, to warm up, and is dropped.
    """
    order, rng = list(cases), random.Random(0)
    values: Values = {case: [] for case in cases}
    for _ in range(repetitions + 1):
        rng.shuffle(order)
        for case in order:
            os.sync()  # what an earlier lap left to the disk is not this one's
            values[case].append(cases[case]())
    return {case: kept for case, (_, *kept) in values.items()}


def _writing(size: Size, stored: Path) -> dict[Case, Lap]:
    """Write the bytes of the stored rounds as plain files; and rounds of as many, by a recorder."""
    content = min(stored.iterdir()).read_bytes()
    place, model, rounds = size.folder / "written", disk.drawn(size.clients), size.rounds
    files = [place / f"{number}" for number in range(rounds)]

    def lap(work: Callable[[], None]) -> float:
        place.mkdir()
        rate = rounds * len(content) / 1e6 / _seconds(work)
        shutil.rmtree(place)
        return rate

    works = {
        PLAIN: partial(disk.write, files, content),
        ONE_FILE: partial(disk.write, files[:1], content, rounds),
        RECORDER: lambda: disk.record(place, disk.numbered(model, rounds)),
    }
    return {(WRITING, name): partial(lap, work) for name, work in works.items()}


def _reading(stored: Path) -> dict[Case, Lap]:
    """Read the stored rounds as plain files, and replay them; from the disk and from memory.

    A system that keeps files in memory whatever it is told has no cold reading.
    """
    rounds = open_rounds(stored)
    files = [one.path for one in rounds]
    size = sum(file.stat().st_size for file in files) / 1e6

    def lap(prepare: Callable[[Sequence[Path]], object], work: Callable[[], object]) -> float:
        prepare(files)
        return size / _seconds(work)

    works: dict[str, Callable[[], object]] = {
        PLAIN: partial(disk.read, files),
        ALL_ROWS: partial(disk.replay, rounds, frozenset()),
        REPLAY: partial(disk.replay, rounds),
        OPENED: lambda: disk.replay(open_rounds(stored)),
    }
    caches = {COLD: disk.drop, WARM: disk.read} if disk.drop(files) else {WARM: disk.read}
    return {
        (measure, name): partial(lap, prepare, work)
        for measure, prepare in caches.items()
        for name, work in works.items()
    }


def _training(size: Size, stack: ExitStack) -> dict[Case, Lap]:
    """Train LeNet-5 with and without a history on disk, each in a process of its own."""
    workload, place = lenet5(disk.RECORDS, size.clients), size.folder / "trained"

    def lap(player: Player) -> float:
        took = player.lap(size.rounds)
        shutil.rmtree(place)
        return 1e3 * took.seconds / took.rounds

    def start(needs: Needs) -> Lap:
        player = Player("benchmarks.stored:training", workload=workload, folder=place, needs=needs)
        return partial(lap, stack.enter_context(player))

    return {(TRAINING, name): start(needs) for name, needs in NEEDS.items()}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
