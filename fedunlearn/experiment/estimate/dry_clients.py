"""Clients and kept rounds that cost what real ones cost, but train nobody and take no memory."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import torch

from fedunlearn import randomness
from fedunlearn.data import ClientId, Holdings, Shards
from fedunlearn.history import Encoding, Needs, Round, Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Vector
from fedunlearn.randomness import Stream
from fedunlearn.unlearning import (
    SERVER_ID,
    Access,
    ProxyData,
    QueryTask,
    ScopedClients,
    ServerVerifier,
    Training,
    TrainingTask,
    absent,
    cohort,
)

NUDGE = 1e-3
"""Every coordinate of a made-up update: not zero, since methods divide by lengths."""


def made_up(clients: Collection[ClientId], examples: Sequence[int], size: int) -> Updates:
    """Return updates [k, size] that are one number in memory."""
    deltas = torch.full((1, 1), NUDGE).expand(len(clients), size)
    return Updates(tuple(clients), deltas, torch.tensor(examples, dtype=torch.int64))


@dataclass(frozen=True, slots=True)
class MadeUpRound:
    """A recorded round that takes no memory: who took part is true, the numbers are made up."""

    number: int
    """From 1."""
    clients: tuple[ClientId, ...]
    """Ascending, [k]."""
    examples: tuple[int, ...]
    """Records that each client trained on, [k]."""
    cohort_examples: int
    """Records of the whole cohort, also of clients who have left since."""
    d: int
    """Coordinates of a model."""
    encoding: Encoding
    """In which a run would store the updates."""
    has_updates: bool
    coordinate: float | None
    """What every coordinate of the model that was sent out is; None where it was not kept."""

    @classmethod
    def of(cls, done: Round, d: int, encoding: Encoding) -> "MadeUpRound":
        """Return ``done`` with made-up numbers: all of its model equal the first."""
        return cls(
            number=done.number,
            clients=done.clients,
            examples=tuple(done.updates.examples.tolist()),
            cohort_examples=done.cohort_examples,
            d=d,
            encoding=encoding,
            has_updates=done.updates.deltas.shape[1] > 0,
            coordinate=None if done.broadcast is None else float(done.broadcast[0]),
        )

    @property
    def updates(self) -> Updates:
        """Made-up updates of the clients whose updates are kept."""
        updates = made_up(self.clients, self.examples, self.d)
        return updates if self.has_updates else updates.hollow

    @property
    def before(self) -> Vector:
        """A made-up model [d]; raises LookupError where none was kept."""
        return self._round.before

    @property
    def nbytes(self) -> int:
        """Bytes that a run would store."""
        updates = self.encoding.nbytes(len(self.clients), self.d) if self.has_updates else 0
        return updates + (0 if self.coordinate is None else 4 * self.d)

    def share(self, clients: Set[ClientId]) -> Vector:
        """Return what ``clients`` moved the model by, as `Round.share`."""
        return self._round.share(clients)

    def only(self, clients: Set[ClientId]) -> "MadeUpRound":
        """Drop what others than ``clients`` sent."""
        rows = [row for row, client in enumerate(self.clients) if client in clients]
        return replace(
            self,
            clients=tuple(self.clients[row] for row in rows),
            examples=tuple(self.examples[row] for row in rows),
        )

    def without(self, clients: Set[ClientId]) -> "MadeUpRound":
        """Drop what ``clients`` sent."""
        return self.only(set(self.clients) - clients)

    def reduced(self, needs: Needs) -> "MadeUpRound":
        """Keep only what ``needs`` names."""
        return replace(
            self,
            has_updates=self.has_updates and needs.updates,
            coordinate=self.coordinate if needs.models else None,
        )

    @property
    def _round(self) -> Round:
        """The same in memory; its tensors are one number each."""
        model = None if self.coordinate is None else torch.tensor([self.coordinate]).expand(self.d)
        return Round(self.number, self.updates, self.cohort_examples, model)


@dataclass(frozen=True, slots=True)
class DryServerData:
    """The server's records, on which nobody trains: the student comes back as it was."""

    real: ProxyData
    seconds: Callable[[ProxyData, LocalWork], float]
    """How long one record takes."""

    @property
    def inputs(self) -> torch.Tensor:
        """The server's inputs, [n, *shape]."""
        return self.real.inputs

    def distil(self, teacher: Vector, student: Vector, work: LocalWork, *, round: int) -> Vector:
        """Charge what `ProxyData.distil` would."""
        samples = work.samples(len(self.inputs)) + len(self.inputs)
        seconds = samples * self.seconds(self.real, work)
        records = len(self.inputs)
        self.real.ledger.charge(SERVER_ID, samples=samples, seconds=seconds, records=records)
        return student


@dataclass(frozen=True, slots=True)
class DryVerifier:
    """A test that nothing passes, so that all that may be tried is counted."""

    real: ServerVerifier

    def attack_success(self, weights: Vector) -> float:
        """Charge what a test would; every trigger still works."""
        self.real.attack_success(weights)
        return 1.0

    def earlier_attack_success(self, weights: Vector) -> float:
        """Charge what a test would; every trigger works again."""
        self.real.earlier_attack_success(weights)
        return 1.0

    def accuracy(self, weights: Vector) -> float:
        """Charge what a test would."""
        self.real.accuracy(weights)
        return 1.0


def dry_clients(
    records: Shards, holdings: Holdings, training: Training, unlabelled: DryServerData
) -> ScopedClients:
    """Return all clients, who hold some of these ``records``, with the server's seed and ledger."""
    channel, real = DryChannel(records, holdings, training, unlabelled), unlabelled.real
    return ScopedClients(channel, real.seed, real.ledger, Access(frozenset(range(len(records)))))


@dataclass(frozen=True, slots=True)
class DryChannel:
    """Clients who are asked as over a grid, and charged for, but do not train (see `Channel`)."""

    records: Shards
    """What each client has to train on, also those who left."""
    holdings: Holdings
    """Which of these it holds."""
    training: Training
    proxy: DryServerData
    """Unlabelled records on the server."""

    @property
    def work(self) -> LocalWork:
        """What a client does in an ordinary round."""
        return self.training.work

    def verifier(self, request: int) -> DryVerifier:
        """Return a test that nothing passes, charged as a real one."""
        return DryVerifier(self.proxy.real.verifier(request))

    def train(self, asking: ScopedClients, task: TrainingTask) -> Updates:
        """Charge what messages would cost; the updates may be changed in place."""
        updates = self._charged(asking, task)
        return replace(updates, deltas=updates.deltas.clone())

    def rounds(
        self, asking: ScopedClients, weights: Vector, first: int, last: int, work: LocalWork
    ) -> Iterator[tuple[Updates, Vector]]:
        """Charge for ordinary rounds; the models, too, are one number in memory."""
        corrected = self.training.correction is not None
        for number in range(first, last + 1):
            other = weights if corrected else None
            updates = self._charged(asking, TrainingTask(weights, None, work, number, other))
            weights = (weights[:1] + NUDGE).expand_as(weights)
            yield updates, weights

    def query(
        self, asking: ScopedClients, task: QueryTask
    ) -> dict[ClientId, Mapping[str, torch.Tensor]]:
        """Charge what messages would cost; every number in the sums is 1."""
        forms = task.query.forms(self.proxy.real.network)
        ones = {
            name: torch.ones((), dtype=getattr(torch, form.dtype)).expand(form.shape)
            for name, form in forms.items()
        }
        down = task.weights.nbytes + _ranking(asking.access)
        sent = {"down": down, "up": sum(each.nbytes for each in ones.values())}
        for client, held, looked in self._shown(asking, task.who, task.round):
            asking.ledger.charge(client, **sent, samples=held + looked, seconds=0.0, records=held)
        return dict.fromkeys(task.who, ones)

    def _charged(self, asking: ScopedClients, task: TrainingTask) -> Updates:
        """Charge the round of ``task``, and return updates that are made up."""
        sent, back = task.nbytes + _ranking(asking.access), task.nbytes_back
        clients = self._replying(asking, task.round, sent) if task.who is None else task.who
        shown = self._shown(asking, clients, task.round)
        for client, held, looked in shown:
            samples = self._samples(asking, task, client, held) + looked
            cost = {"down": sent, "up": back, "samples": samples, "records": held}
            asking.ledger.charge(client, **cost, seconds=0.0)
        return made_up(clients, [held for _, held, _ in shown], len(task.weights))

    def _held(self, asking: ScopedClients, clients: Collection[ClientId], round: int) -> list[int]:
        """Return how many records each of ``clients`` trains on in a round."""
        partial = self.holdings.partial(asking.access.held(round))
        return [
            int(partial[client].sum()) if client in partial else len(self.records.span(client))
            for client in clients
        ]

    def _shown(
        self, asking: ScopedClients, clients: Collection[ClientId], round: int
    ) -> list[tuple[ClientId, int, int]]:
        """Return how many records of each of ``clients`` count, and how many it ranks for that."""
        part = asking.access.part
        held = zip(clients, self._held(asking, clients, round), strict=True)
        if part is None:
            return [(client, records, 0) for client, records in held]
        return [(client, len(part.ranked.span(records)), records) for client, records in held]

    def _samples(
        self, asking: ScopedClients, task: TrainingTask, client: ClientId, held: int
    ) -> int:
        """Return how many records a client takes before it stops."""
        if task.work.straggling is None:
            return task.work.samples(held)
        words = asking.access.stream, task.round, client
        return sum(task.work.taken(held, randomness.rng(asking.seed, Stream.CLIENT, *words)))

    def _replying(self, asking: ScopedClients, round: int, sent: int) -> tuple[ClientId, ...]:
        """Return who of a round's cohort replies; the others are charged what they were sent."""
        size = self.training.cohort_size(len(self.records))
        asked = cohort(asking.access.present(round), size, asking.seed, round)
        away = absent(asked, self.training.dropout, asking.seed, round)
        for client in sorted(away):
            asking.ledger.charge(client, down=sent, samples=0, seconds=0.0, records=0)
        return tuple(client for client in asked if client not in away)


def _ranking(access: Access) -> int:
    """Return the bytes of the model that ranks records, where only some of them count."""
    return 0 if access.part is None else access.part.model.nbytes
