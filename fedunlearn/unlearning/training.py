"""Ordinary federated training: who is asked in a round, and how a round moves the model."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from fedunlearn import checks, randomness
from fedunlearn.checks import Count, CountFromZero, Positive, ShareAboveZero, ShareBelowOne
from fedunlearn.data import ClientId
from fedunlearn.history import Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Vector, mean
from fedunlearn.randomness import Stream
from fedunlearn.unlearning.corrections import Correction
from fedunlearn.unlearning.server_optimizers import FedAvg, ServerOptimizer
from fedunlearn.unlearning.strategy import Clients


@dataclass(frozen=True, slots=True)
class Training:
    """How a federation trains."""

    rounds: Count = 24
    """Rounds of training."""
    cohort: ShareAboveZero = 1.0
    """Share of the clients that a round asks."""
    dropout: ShareBelowOne = 0.0
    """Chance that a client who is asked in a round does not reply, which costs the message."""
    tolerated_failures: CountFromZero = 0
    """Clients of a round that may fail before the run stops."""
    timeout: Positive | None = None
    """Seconds to wait for the replies of a round; null: as long as they take."""
    work: LocalWork = field(default_factory=LocalWork)
    """What a client does in a round."""
    server: ServerOptimizer = field(default_factory=FedAvg)
    """How the mean update moves the model."""
    correction: Correction | None = None
    """How local work is corrected for the differences between clients; None: not at all."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for what does not go together."""
        checks.fields(self)
        if self.correction is not None:
            self.correction.check(self.work, self.server)

    def cohort_size(self, clients: int) -> int:
        """Return how many of ``clients`` a round asks: their share, rounded, and at least one."""
        return max(1, math.floor(self.cohort * clients + 0.5))


def cohort(present: Collection[ClientId], size: int, seed: int, round: int) -> tuple[ClientId, ...]:
    """Draw the clients of a round: the ``size`` smallest of independent uniform numbers.

    A client's number is a function of ``(seed, round, client)`` alone. So a round without a
    client who was not in its cohort stays as it was, and where the client was in it, the next in
    line steps in: nobody else is reshuffled. Returns ascending ids, all of ``present`` if they
    are not more than ``size``.
    """
    ids = sorted(present)
    if len(ids) <= size:
        return tuple(ids)
    # The i-th number of a stream does not depend on how many are drawn after it.
    draws = randomness.rng(seed, Stream.COHORT, round).random(ids[-1] + 1)
    return tuple(sorted(sorted(ids, key=draws.__getitem__)[:size]))


def absent(
    asked: Collection[ClientId], dropout: float, seed: int, round: int
) -> frozenset[ClientId]:
    """Return who of those ``asked`` in a round does not reply, each with chance ``dropout``.

    As in `cohort`, it is a function of ``(seed, round, client)`` alone.
    """
    if not dropout or not asked:
        return frozenset()
    draws = randomness.rng(seed, Stream.DROPOUT, round).random(max(asked) + 1)
    return frozenset(client for client in asked if draws[client] < dropout)


def server_rng(seed: int, leavers: Collection[ClientId], round: int) -> np.random.Generator:
    """Return the server's random numbers of an unlearning round, say for noise.

    Other leavers get other numbers: noise that is used twice would cancel in a difference.
    """
    return randomness.rng(seed, Stream.SERVER, round, *sorted(leavers))


def run_rounds(
    clients: Clients,
    server: ServerOptimizer,
    weights: Vector,
    first: int,
    last: int,
    work: LocalWork | None = None,
) -> Iterator[tuple[Updates, Vector]]:
    """Run rounds ``first … last`` from ``weights`` [d]; yield updates and the model after each.

    ``work`` is the ordinary work unless given. The server's optimizer starts afresh. A round in
    which every client failed changes nothing.
    """
    state = server.start(weights)
    for number in range(first, last + 1):
        updates = clients.train(weights, work=work, round=number)
        if updates.clients:
            update = mean(updates.deltas, updates.examples)
            weights, state = server.step(weights, update, state)
        yield updates, weights
