"""How fast an engine trains a federation, measured by training it."""

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import torch

from fedunlearn.data import Scenario, build_federation
from fedunlearn.flower import Connection, Engine, grid_clients, kinds_in
from fedunlearn.unlearning import Clock, Ledger, ProxyData, Training

LEAST, MOST = 3, 20
"""Rounds that are measured, after one that warms up."""

SECONDS = 3.0
"""No further round is measured after so many seconds, once there are `LEAST`."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an engine trained."""

    start: float
    """Seconds until the clients could be asked."""
    rounds: tuple[tuple[float, int], ...]
    """Of each round: seconds, and records processed; each record counts once an epoch."""

    @property
    def seconds(self) -> float:
        """Median seconds of a round."""
        return median(seconds for seconds, _ in self.rounds)

    @property
    def samples(self) -> float:
        """Median over rounds of the records processed in a second."""
        return median(samples / seconds for seconds, samples in self.rounds)


def measure(
    engine: Engine,
    scenario: Scenario,
    training: Training,
    seconds: float = SECONDS,
    clock: Clock = time.perf_counter,
) -> Speed:
    """Train as a run does, after a round that warms up, and time the rounds.

    The costs go to a ledger that nobody sees. Raises `ClientFailed` for any failing client, even
    where ``training`` tolerates it, since a round without it would be too fast.
    """
    federation, ledger = build_federation(scenario), Ledger()
    marks: list[tuple[float, int]] = []

    def job(connection: Connection) -> None:
        unlabelled = ProxyData(federation.network, federation.proxy, ledger, scenario.seed)
        clients = grid_clients(connection, replace(training, tolerated_failures=0), unlabelled)
        marks.append((clock(), 0))
        for number, _ in enumerate(clients.rounds(federation.initial, 1, 1 + MOST)):
            marks.append((clock(), ledger.samples))
            if number >= LEAST and marks[-1][0] - marks[1][0] >= seconds:
                break

    torch.set_num_threads(1)  # as in a run: cores are used by threads that each play a client
    called = clock()
    engine.run(scenario, job, kinds_in(training))
    (ready, _), *rounds = marks
    return Speed(
        start=ready - called,
        rounds=tuple((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(rounds)),
    )
