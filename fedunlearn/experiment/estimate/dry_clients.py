"""Clients and kept rounds that cost what real ones cost, but train nobody and take no memory."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from fedunlearn.data import ClientId
from fedunlearn.history import Needs, Round, StoredRound, Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Vector
from fedunlearn.unlearning import (
    SERVER,
    Access,
    Ledger,
    ServerData,
    Training,
    cohort,
    server_rng,
)

NUDGE = 1e-3
"""Every coordinate of a made-up update: not zero, since methods divide by lengths."""


def made_up(clients: Collection[ClientId], examples: Sequence[int], size: int) -> Updates:
    """Return updates [k, size] that are one number in memory."""
    deltas = torch.full((1, 1), NUDGE).expand(len(clients), size)
    return Updates(tuple(clients), deltas, torch.tensor(examples, dtype=torch.int64))


@dataclass(frozen=True, slots=True)
class Hollow:
    """A kept round that takes no memory: its numbers are made up, all else is that of ``real``."""

    real: StoredRound
    coordinate: float
    """The first one of the model that was sent out: all others are taken to equal it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    @property
    def updates(self) -> Updates:
        """Made-up updates of the clients whose updates are kept."""
        return made_up(self.real.clients, self.real.examples, self.real.d)

    @property
    def before(self) -> Vector:
        """A made-up model [d]; raises LookupError where none was kept."""
        model = torch.full((1,), self.coordinate).expand(self.real.d)
        kept = model if self.real.has_model else None
        return Round(self.real.number, self.updates, self.real.cohort_examples, kept).before

    def share(self, clients: Set[ClientId]) -> Vector:
        """Return what ``clients`` moved the model by, as `Round.share`."""
        return Round(self.real.number, self.updates, self.real.cohort_examples).share(clients)

    def only(self, clients: Set[ClientId]) -> "Hollow":
        """Drop what others than ``clients`` sent."""
        return replace(self, real=self.real.only(clients))

    def without(self, clients: Set[ClientId]) -> "Hollow":
        """Drop what ``clients`` sent."""
        return replace(self, real=self.real.without(clients))

    def reduced(self, needs: Needs) -> "Hollow":
        """Keep only what ``needs`` names."""
        return replace(self, real=self.real.reduced(needs))


@dataclass(frozen=True, slots=True)
class DryServerData:
    """The server's records, on which nobody trains: the student comes back as it was."""

    real: ServerData
    seconds: Callable[[ServerData, LocalWork], float]
    """How long one record takes."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def distil(self, teacher: Vector, student: Vector, work: LocalWork, *, round: int) -> Vector:
        """Charge what `ServerData.distil` would."""
        samples = work.samples(len(self.real.images)) + len(self.real.images)
        seconds = samples * self.seconds(self.real, work)
        self.real.ledger.charge(SERVER, samples=samples, seconds=seconds)
        return student


@dataclass(frozen=True, slots=True)
class DryClients:
    """Clients who are asked as `clients.GridClients` asks, and charged for, but do not train."""

    records: Mapping[ClientId, int]
    """How many each client trains on, also those who left."""
    training: Training
    seed: int
    ledger: Ledger
    access: Access
    unlabelled: DryServerData

    @property
    def ids(self) -> frozenset[ClientId]:
        """Who may be asked."""
        return self.access.ids

    @property
    def work(self) -> LocalWork:
        """What a client does in an ordinary round."""
        return self.training.work

    @property
    def proxy(self) -> ServerData:
        """Unlabelled records on the server."""
        self.access.require_proxy()
        return cast(ServerData, self.unlabelled)

    @property
    def leavers(self) -> "DryClients":
        """Those who leave."""
        return self.scoped(self.access.leavers)

    def scoped(self, access: Access) -> "DryClients":
        """Return the same clients, asked as far as ``access`` goes."""
        return replace(self, access=access)

    def train(
        self,
        weights: Vector,
        who: Collection[ClientId] | None = None,
        work: LocalWork | None = None,
        *,
        round: int,
        other: Vector | None = None,
    ) -> Updates:
        """Charge what `GridClients.train` would; the updates may be changed in place."""
        self.access.require_remaining()
        asked = self._cohort(round) if who is None else self.access.chosen(who)
        updates = self._charged(asked, weights, work or self.work, other)
        return replace(updates, deltas=updates.deltas.clone())

    def rounds(
        self, weights: Vector, first: int, last: int, work: LocalWork | None = None
    ) -> Iterator[tuple[Updates, Vector]]:
        """Charge for ordinary rounds; the models, too, are one number in memory."""
        return self.access.recorded(weights, first, self._rounds(weights, first, last, work))

    def _rounds(
        self, weights: Vector, first: int, last: int, work: LocalWork | None
    ) -> Iterator[tuple[Updates, Vector]]:
        self.access.require_remaining()
        for number in range(first, last + 1):
            updates = self._charged(self._cohort(number), weights, work or self.work)
            weights = (weights[:1] + NUDGE).expand_as(weights)
            yield updates, weights

    def statistics(self, weights: Vector) -> dict[ClientId, torch.Tensor]:
        """Charge what `GridClients.statistics` would; the sums are all zero."""
        self.access.require_remaining()
        shape = self.unlabelled.real.network.head.sums
        nothing = torch.zeros((), dtype=torch.float64).expand(shape)
        for client in sorted(self.ids):
            held, down, up = self.records[client], weights.nbytes, nothing.nbytes
            self.ledger.charge(client, down=down, up=up, samples=held, seconds=0.0)
        return dict.fromkeys(sorted(self.ids), nothing)

    def rng(self, round: int) -> np.random.Generator:
        """Return the server's random numbers of an unlearning round."""
        return server_rng(self.seed, self.access.gone, round)

    def _cohort(self, round: int) -> tuple[ClientId, ...]:
        return cohort(self.ids, self.training.cohort_size(len(self.records)), self.seed, round)

    def _charged(
        self,
        asked: Sequence[ClientId],
        weights: Vector,
        work: LocalWork,
        other: Vector | None = None,
    ) -> Updates:
        back, examples = weights.nbytes, [self.records[client] for client in asked]
        sent = back if other is None else back + other.nbytes
        for client, held in zip(asked, examples, strict=True):
            samples = work.samples(held)
            self.ledger.charge(client, down=sent, up=back, samples=samples, seconds=0.0)
        return made_up(asked, examples, len(weights))
