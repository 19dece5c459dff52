"""Many trainings of one federation, each on a random part of its clients or of their records.

Nobody needs to ask for anything: the federation is as it stands before the first request. Models
are members of the reference bank (`train_bank`), with seeds that no training has.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedunlearn import checks, randomness
from fedunlearn.attacks.memorization import Bank, Flags
from fedunlearn.attacks.shadow_models import AT_ONCE
from fedunlearn.attacks.training_bank import Member, train_bank
from fedunlearn.checks import Refused
from fedunlearn.data import ClientId, Federation, Held, Records, Shards, fingerprints, held_shards
from fedunlearn.local import ChunkedTrainer, Threads, Trainer
from fedunlearn.models import Vector, logits, predictions
from fedunlearn.randomness import Stream, drawn_seed
from fedunlearn.unlearning import Training

FEWEST = 8
"""Models of a bank: fewer hardly have both sides for every client."""

TRIES = 1000
"""Draws of whole tables of clients until each client is in two models and out of two."""

CLIENTS, RECORDS, WHOLE, WITHOUT, FURTHER = 2, 3, 4, 5, 6
"""Kinds of models, which tell their seeds apart; those below are taken (`shadow_models`)."""

Tell = Callable[[int], object]
"""Is told how many models have been trained since it was told last."""


@dataclass(frozen=True)
class Ground:
    """A federation as it trains up to its first request, or to the end where nobody asks."""

    federation: Federation
    trainer: Trainer
    """Of what clients hold then."""
    training: Training
    rounds: int

    @classmethod
    def of(cls, federation: Federation, trainer: Trainer, training: Training) -> "Ground":
        """Return what all models have in common; ``trainer`` knows all records.

        Raises `Refused` for corrections, for clients who join before anybody asks, and where
        fewer than two clients take part.
        """
        if training.correction is not None:
            raise Refused(
                "Models trained side by side know no training.correction: its vectors are each "
                "federation's own. Ask about a federation without one."
            )
        changes = federation.scenario.changes
        asked = [change.after for change in changes if change.kind == "erase" and change.clients]
        rounds = min(asked, default=training.rounds)
        for change in changes:
            if change.kind != "erase" and 0 < change.after < rounds:
                raise Refused(
                    f"Clients {list(change.clients)} join after round {change.after}, before "
                    "anybody asks. Models that differ in who takes part have the same clients in "
                    "all rounds: leave such joins out."
                )
        device = trainer.shards.records.labels.device
        shards = held_shards(federation.scenario, str(device), Held(rounds, 0))
        assert isinstance(trainer, ChunkedTrainer | Threads)
        ground = cls(federation, replace(trainer, shards=shards), training, rounds)
        if len(ground.present) < 2:
            raise Refused("Only one client takes part, so there are no others to compare it with.")
        return ground

    @cached_property
    def present(self) -> tuple[ClientId, ...]:
        """Who takes part, in order."""
        return tuple(sorted(self.federation.holdings.present(self.rounds, 0)))

    @cached_property
    def records(self) -> Records:
        """All that they train on, one client after another."""
        return Records.joined([self.trainer.shards[client] for client in self.present])

    @cached_property
    def owner(self) -> npt.NDArray[np.int64]:
        """The place in `present` of whose record each is, [n]."""
        sizes = [len(self.trainer.shards.span(client)) for client in self.present]
        return np.repeat(np.arange(len(sizes)), sizes)

    @cached_property
    def planted(self) -> Flags:
        """Which of them hold a probe, [n] bool."""
        planted, partial = self.federation.source.planted, self._partial
        marks = (planted[c][partial[c]] if c in partial else planted[c] for c in self.present)
        return torch.cat(list(marks)).numpy()

    @cached_property
    def fingerprints(self) -> list[str]:
        """What the data set's tables call each of them, whatever a model makes of it, [n]."""
        train, partial = self.federation.source.train, self._partial
        held = (train[c].take(partial[c]) if c in partial else train[c] for c in self.present)
        return fingerprints(Records.joined(held))

    @property
    def _partial(self) -> Mapping[ClientId, Tensor]:
        """Which of their records those hold who do not hold all."""
        return self.federation.holdings.partial(Held(self.rounds, 0))

    def member(self, kind: int, number: int, clients: Sequence[ClientId]) -> Member:
        """Return model ``number`` of its kind, from 0, with ``clients``."""
        seed = drawn_seed(self.federation.scenario.seed, Stream.SHADOW, kind, number)
        return Member(self.federation.network.initial(seed), seed, frozenset(clients))

    def correct(self, weights: Vector) -> Flags:
        """Return which of the `records` a model [d] is right about, [n]."""
        said = logits(
            self.federation.network.arranging,
            weights.to(self.records.labels.device),
            [self.records.inputs],
        )
        right: Flags = (predictions(said) == self.records.labels).cpu().numpy()
        return right

    def trained(self, members: Sequence[Member], tell: Tell) -> Flags:
        """Train members on what everybody holds, and return what they are `correct` about."""
        several = max(1, AT_ONCE // len(self.present))
        right = list[Flags]()
        for first in range(0, len(members), several):
            batch = members[first : first + several]
            models = train_bank(batch, self.trainer, self.training, self.rounds)
            right += [self.correct(weights) for weights in models]
            tell(len(batch))
        return np.stack(right)


def bank_of_clients(ground: Ground, count: int, share: float, tell: Tell) -> Bank:
    """Train ``count`` models, each with a random ``share`` of the clients, and ask them all.

    A model has ``round(share * K)`` of K clients, at least one and not all.
    """
    taken = clients_taken(len(ground.present), count, share, ground.federation.scenario.seed)
    members = [
        ground.member(CLIENTS, number, np.array(ground.present)[row].tolist())
        for number, row in enumerate(taken)
    ]
    return Bank(ground.trained(members, tell), taken[:, ground.owner], ground.owner)


def bank_of_records(ground: Ground, count: int, share: float, tell: Tell) -> Bank:
    """Train ``count`` models of all clients, each client on a random ``share`` of its records.

    Every record is in ``round(share * M)`` of M models, at least two and at most M - 2. A client
    none of whose records a model has takes no part in it.
    """
    scenario = ground.federation.scenario
    held = records_taken(len(ground.records), count, share, scenario.seed)
    several = max(1, AT_ONCE // len(ground.present))
    right = list[Flags]()
    for first in range(0, count, several):
        rows = range(first, min(count, first + several))
        right += [ground.correct(weights) for weights in _on_parts(ground, held, rows)]
        tell(len(rows))
    return Bank(np.stack(right), held, ground.owner)


def left_out(ground: Ground, count: int, tell: Tell) -> tuple[Flags, list[Flags]]:
    """Train ``count`` models with everybody, and as many without each client, of the same seeds.

    Returns what they are right about: [count, n], and for each client [count, n].
    """
    everybody = [ground.member(WHOLE, number, ground.present) for number in range(count)]
    with_all = ground.trained(everybody, tell)
    without = []
    for gone in ground.present:
        rest = frozenset(ground.present) - {gone}
        members = [replace(member, clients=rest) for member in everybody]
        without.append(ground.trained(members, tell))
    return with_all, without


def clients_taken(clients: int, count: int, share: float, seed: int) -> Flags:
    """Draw who takes part in each model, [count, clients]: as many in each.

    Whole tables are drawn until every client is in two models or more, and out of two. Raises
    `Refused` where no table of `TRIES` is so.
    """
    size = min(clients - 1, max(1, round(share * clients)))
    rng = randomness.rng(seed, Stream.SUBSETS, 0)
    for _ in range(TRIES):
        taken = rng.permuted(np.tile(np.arange(clients) < size, (count, 1)), axis=1)
        if np.minimum(taken.sum(axis=0), (~taken).sum(axis=0)).min() >= 2:
            return taken
    raise Refused(
        f"With {size} of {clients} clients in each of {count} models, some client is in all of "
        "them, or in none. Raise --models, or choose a --share nearer to 0.5."
    )


def records_taken(records: int, count: int, share: float, seed: int) -> Flags:
    """Draw which records each model trains on, [count, records]: each in as many models."""
    inside = min(count - 2, max(2, round(share * count)))
    rng = randomness.rng(seed, Stream.SUBSETS, 1)
    held = rng.permuted(np.tile((np.arange(count) < inside)[:, None], (1, records)), axis=0)
    if not held.any(axis=1).all():
        raise Refused(
            f"Of {records} records some of {count} models would get none: too few to ask."
        )
    return held


def require_bank(count: int, share: float) -> None:
    """Raise `Refused` for a number of models or a share that make no bank."""
    checks.whole("--models", count, at_least=FEWEST)
    checks.number("--share", share, at_least=0.1, at_most=0.9)


def _on_parts(ground: Ground, held: Flags, rows: Sequence[int]) -> Iterator[Vector]:
    """Train the models ``rows`` of a table of records, and yield each one's last weights."""
    clients = len(ground.present)
    parts, members = list[Records](), list[Member]()
    for row in rows:
        own = [np.flatnonzero(held[row] & (ground.owner == place)) for place in range(clients)]
        owners = range(len(parts), len(parts) + clients)
        parts += [ground.records.take(_on(ground, places)) for places in own]
        here = [owner for owner, places in zip(owners, own, strict=True) if len(places)]
        members.append(ground.member(RECORDS, row, here))
    shards = Shards.of(parts)
    # A model's clients are further ones among all; as many are asked in a round as ever.
    size = ground.training.cohort_size(len(ground.trainer.shards))
    training = replace(ground.training, cohort=size / len(shards))
    assert isinstance(ground.trainer, ChunkedTrainer | Threads)
    yield from train_bank(members, replace(ground.trainer, shards=shards), training, ground.rounds)


def _on(ground: Ground, places: npt.NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(places).to(ground.records.labels.device)
