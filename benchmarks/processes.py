"""Contenders in processes of their own, who take turns: one works, the others sleep.

A contender is a function ``contend(turns, …)`` that prepares itself, then runs as many rounds as
each turn says. Only the time between taking a turn and asking for the next one counts.
"""

import math
import random
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pkgutil import resolve_name
from typing import Any, Protocol, Self

import torch

LEAST_SECONDS = 0.3
"""A lap lasts at least about this long, so that the clock and the scheduler hardly matter."""


@dataclass(frozen=True, slots=True)
class Lap:
    """What one turn took."""

    rounds: int
    seconds: float
    since_imports: float
    """Seconds from the end of the contender's imports to the end of this lap."""
    gpu_bytes: int
    """Most bytes that the process had allocated on the GPU at once, so far."""


class Playing(Protocol):
    """A process that trains when it is on turn, and stands still otherwise."""

    def lap(self, rounds: int) -> Lap:
        """Let it run so many rounds."""

    def close(self) -> None:
        """Tell it that there are no more turns, and wait for its end."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Player:
    """A fresh process that plays the contender ``module:function``."""

    def __init__(self, function: str, **arguments: Any) -> None:
        context = get_context("spawn")
        self._function = function
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_play, args=(theirs, function, arguments))
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def lap(self, rounds: int) -> Lap:
        """Let it run ``rounds`` rounds; raises RuntimeError with its traceback if it fails."""
        with suppress(BrokenPipeError):  # what it said before it ended is read below
            self._pipe.send(rounds)
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError(f"{self._function} ended without an answer.") from None
        if not isinstance(answer, Lap):
            raise RuntimeError(f"{self._function} failed:\n{answer}")
        return answer

    def close(self) -> None:
        """Tell it that there are no more turns, and wait for its end."""
        self._pipe.close()
        self._process.join(timeout=60)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def interleaved(
    players: Mapping[str, Playing], repetitions: int, least: float = LEAST_SECONDS
) -> dict[str, list[Lap]]:
    """Let everybody run one lap a repetition, in an order shuffled by a fixed seed.

    Each decides in a first lap how many rounds make a lap of ``least`` seconds; then one
    repetition warms up and is dropped, and ``repetitions`` are kept.
    """
    for player in players.values():
        player.lap(1)  # returns when it has prepared itself
    rounds = {name: _enough(player, least) for name, player in players.items()}
    order, rng = list(players), random.Random(0)
    laps: dict[str, list[Lap]] = {name: [] for name in players}
    for _ in range(repetitions + 1):
        rng.shuffle(order)
        for name in order:
            laps[name].append(players[name].lap(rounds[name]))
    return {name: kept for name, (_, *kept) in laps.items()}


def _enough(player: Playing, least: float) -> int:
    lap = player.lap(1)
    while lap.seconds < least:
        lap = player.lap(math.ceil(1.2 * lap.rounds * least / lap.seconds))
    return lap.rounds


def _play(pipe: Connection, function: str, arguments: Mapping[str, Any]) -> None:
    try:
        contend = resolve_name(function)
        contend(_turns(pipe, time.perf_counter()), **arguments)
    except Exception:
        with suppress(BrokenPipeError):
            pipe.send(traceback.format_exc())
    finally:
        pipe.close()


def _turns(pipe: Connection, imported: float) -> Iterator[int]:
    """Yield how many rounds to run until the other side closes; tell it how long they took."""
    while True:
        try:
            rounds = pipe.recv()
        except EOFError:
            return
        started = time.perf_counter()
        yield rounds
        peak = 0
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
        now = time.perf_counter()
        pipe.send(Lap(rounds, now - started, now - imported, peak))
