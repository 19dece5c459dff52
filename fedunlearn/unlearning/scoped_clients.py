"""The clients that strategies are handed: who may be asked for what, however they are reached."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history import Needs, Updates
from fedunlearn.local import LocalWork, Mask, Part, Query
from fedunlearn.models import Vector
from fedunlearn.unlearning.ledger import Ledger
from fedunlearn.unlearning.permissions import Access
from fedunlearn.unlearning.server_data import ServerData
from fedunlearn.unlearning.strategy import Second
from fedunlearn.unlearning.training import server_rng
from fedunlearn.unlearning.verifier import Verifier


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """What clients are asked for in a round: the arguments of `strategy.Clients.train`."""

    weights: Vector
    """The model from which they start, [d]."""
    who: tuple[ClientId, ...] | None
    """Who trains, ascending; None: the cohort of the round."""
    work: LocalWork
    round: int
    other: Second | None
    """A second model for work that compares with it, [d], or what tells each client's own."""
    mask: Mask | None = None
    """How far which coordinates may move; None: any."""

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers that each client is sent."""
        models = self.weights.nbytes * (1 if self.other is None else 2)
        return models + (0 if self.mask is None else self.mask.packed.nbytes)

    @property
    def nbytes_back(self) -> int:
        """Bytes of the numbers that each client sends back."""
        free = len(self.weights) if self.mask is None else self.mask.free
        return free * self.weights.element_size()


@dataclass(frozen=True, slots=True)
class QueryTask:
    """What clients are asked for besides training: the arguments of `strategy.Clients.query`."""

    weights: Vector
    """The model on which sums are made, [d]."""
    query: Query
    who: tuple[ClientId, ...]
    """Who is asked, ascending."""
    round: int
    """The training round whose records count."""


class Channel(Protocol):
    """How a federation's clients are reached: by messages, or on paper to estimate what they cost.

    A channel is asked only what ``asking`` may ask, and charges to its ledger.
    """

    @property
    def work(self) -> LocalWork:
        """What a client does in an ordinary round."""

    @property
    def proxy(self) -> ServerData:
        """Unlabelled records on the server."""

    def verifier(self, request: int) -> Verifier:
        """Return the server's test of who asks in a request, from 1."""

    def train(self, asking: "ScopedClients", task: TrainingTask) -> Updates:
        """Let clients train; see `strategy.Clients.train`."""

    def rounds(
        self, asking: "ScopedClients", weights: Vector, first: int, last: int, work: LocalWork
    ) -> Iterator[tuple[Updates, Vector]]:
        """Run ordinary training rounds; see `strategy.Clients.rounds`."""

    def query(
        self, asking: "ScopedClients", task: QueryTask
    ) -> Mapping[ClientId, Mapping[str, Tensor]]:
        """Ask clients for sums over their records; see `strategy.Clients.query`."""


@dataclass(frozen=True, slots=True)
class ScopedClients:
    """Clients who are asked over ``channel`` as far as ``access`` goes (see `strategy.Clients`)."""

    channel: Channel
    seed: int
    """Of the server's random numbers, of the cohorts and of the clients' work."""
    ledger: Ledger
    access: Access

    @property
    def ids(self) -> frozenset[ClientId]:
        """Who may be asked."""
        return self.access.ids

    @property
    def work(self) -> LocalWork:
        """What a client does in an ordinary round."""
        return self.channel.work

    @property
    def proxy(self) -> ServerData:
        """Unlabelled records on the server."""
        self.access.require_proxy()
        return self.channel.proxy

    @property
    def verifier(self) -> Verifier:
        """What the server can test by itself."""
        self.access.require_verifies()
        return self.channel.verifier(self.access.served)

    @property
    def leavers(self) -> "ScopedClients":
        """Those who leave."""
        return self.scoped(self.access.leavers)

    def scoped(self, access: Access) -> "ScopedClients":
        """Return the same clients, asked as far as ``access`` goes."""
        return replace(self, access=access)

    def narrowed(self, needs: Needs) -> "ScopedClients":
        """Return the same clients for a strategy that another one runs; see `strategy.Clients`."""
        return self.scoped(self.access.narrowed(needs))

    def parted(self, part: Part | None) -> "ScopedClients":
        """Return the same clients, whose leavers show just ``part``; see `strategy.Clients`."""
        return self.scoped(self.access.parted(part))

    def train(
        self,
        weights: Vector,
        who: Collection[ClientId] | None = None,
        work: LocalWork | None = None,
        *,
        round: int,
        other: Second | None = None,
        mask: Mask | None = None,
    ) -> Updates:
        """Let clients train from ``weights`` [d]; see `strategy.Clients.train`."""
        self.access.require_remaining()
        if mask is not None:
            self.access.require_masks()
            mask.check(len(weights))
        asked = None if who is None else self.access.chosen(who)
        task = TrainingTask(weights, asked, work or self.work, round, other, mask)
        return self.channel.train(self, task)

    def rounds(
        self, weights: Vector, first: int, last: int, work: LocalWork | None = None
    ) -> Iterator[tuple[Updates, Vector]]:
        """Run ordinary training rounds; see `strategy.Clients.rounds`."""
        self.access.require_remaining()
        rounds = self.channel.rounds(self, weights, first, last, work or self.work)
        yield from self.access.recorded(weights, first, rounds)

    def query(
        self,
        weights: Vector,
        query: Query,
        who: Collection[ClientId] | None = None,
        *,
        round: int,
    ) -> Mapping[ClientId, Mapping[str, Tensor]]:
        """Ask clients for sums over their records; see `strategy.Clients.query`."""
        self.access.require_remaining()
        asked = self.access.present(round) if who is None else who
        return self.channel.query(self, QueryTask(weights, query, self.access.chosen(asked), round))

    def rng(self, round: int) -> np.random.Generator:
        """Return the server's random numbers of an unlearning round."""
        return server_rng(self.seed, self.access.gone, round)

    def note(self, name: str, value: float) -> None:
        """Keep a number for requests to come; see `strategy.Clients.note`."""
        if self.access.note is None:
            raise PermissionError("Only while a request is served may anything be noted.")
        self.access.note(name, value)
