"""How much memory recording and replaying take, and a replay in a tenth of what it reads."""

import math
import os
import shutil
from pathlib import Path
from unittest.mock import patch

from benchmarks import disk, stored
from benchmarks.processes import Player
from benchmarks.store_cases import Case, Size

MEMORY, LIMIT = "peak memory", "replay under a limit"
UNITS = {MEMORY: "MB above imports", LIMIT: "history over limit"}
LONGER = 10
"""Times as many rounds, which peak memory must not notice."""
BUDGET = 128e6
"""Bytes of address space that a replay may take besides what it has once it is imported."""
STEADY = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
"""Lets glibc give back every large block at once. Else it keeps some of them, more or fewer by
chance, and the limit would be one on what it keeps."""
TIMES = 10
"""Times the budget: the history."""
RECORDING, REPLAYING = "recording", "replaying"
ONE_BY_ONE, AT_ONCE = "round by round", "all rounds at once"
CONTENDERS = {ONE_BY_ONE: "benchmarks.stored:replaying", AT_ONCE: "benchmarks.stored:hoarding"}


def peaks(size: Size) -> dict[Case, float]:
    """Record and replay few rounds and many, each in a fresh process; return megabytes."""
    peaks_by_case = {}
    place = size.folder / "peaks"
    for rounds in lengths(size.rounds):
        recorder = Player("benchmarks.stored:recording", folder=place, clients=size.clients)
        peaks_by_case[MEMORY, named(RECORDING, rounds)] = _peak(recorder, rounds)
        peaks_by_case[MEMORY, named(REPLAYING, rounds)] = _peak(
            Player("benchmarks.stored:replaying", folder=place), 1
        )
        shutil.rmtree(place)
    return peaks_by_case


def limited(size: Size) -> dict[Case, float]:
    """Replay a history of `TIMES` the `BUDGET`, in new processes that may take no more than it.

    Return the history's bytes over the budget; zero where the limit ended the replay.
    """
    place, model = size.folder / "limited", disk.drawn(size.clients)
    rounds = math.ceil(TIMES * BUDGET / model.nbytes)
    disk.record(place, disk.numbered(model, rounds))
    share = sum(file.stat().st_size for file in place.iterdir()) / BUDGET
    limits = {
        (LIMIT, name): share * _survives(contender, place) for name, contender in CONTENDERS.items()
    }
    shutil.rmtree(place)
    return limits


def lengths(rounds: int) -> tuple[int, int]:
    """Return how many rounds peak memory is measured with."""
    return rounds, LONGER * rounds


def named(work: str, rounds: int) -> str:
    """Name who recorded or replayed so many rounds."""
    return f"{work} {rounds:,} rounds"


def _peak(player: Player, turn: int) -> float:
    """Return by how many megabytes a turn let a process grow at most, mapped files included."""
    with player:
        player.lap(0)
        before = stored.memory(player.pid, "VmRSS")
        player.lap(turn)
        return (stored.memory(player.pid, "VmHWM") - before) / 1e6


def _survives(contender: str, folder: Path) -> bool:
    """Say whether a replay comes to its end; raises what ends it for another reason."""
    try:
        with patch.dict(os.environ, STEADY):
            player = Player(contender, folder=folder, budget=BUDGET)
        with player:
            player.lap(1)
    except RuntimeError as error:
        if "allocate memory" not in str(error) and "MemoryError" not in str(error):
            raise
        return False
    return True
