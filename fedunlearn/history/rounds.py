"""What a round left behind: the updates of its cohort, and the model that was sent out."""

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history.needs import Needs
from fedunlearn.models import Vector, mean


@dataclass(frozen=True, slots=True)
class Updates:
    """What a cohort of k clients sent back."""

    clients: tuple[ClientId, ...]
    """Ascending, [k]."""
    deltas: Tensor
    """``local - broadcast``, [k, d] float32."""
    examples: Tensor
    """Records that each client trained on, [k] int64."""

    @classmethod
    def none(cls, d: int) -> Self:
        """Return what nobody sent, of models [d]."""
        return cls((), torch.empty(0, d), torch.empty(0, dtype=torch.int64))

    def only(self, clients: Set[ClientId]) -> "Updates":
        """Keep the rows of ``clients``; those who are not in the cohort do not matter."""
        rows = [row for row, client in enumerate(self.clients) if client in clients]
        if len(rows) == len(self.clients):
            return self
        return Updates(
            tuple(self.clients[row] for row in rows), self.deltas[rows], self.examples[rows]
        )

    def without(self, clients: Set[ClientId]) -> "Updates":
        """Drop the rows of ``clients``."""
        return self.only(set(self.clients) - clients)

    @property
    def hollow(self) -> "Updates":
        """Who took part with how many records, without what they sent: ``deltas`` is [k, 0]."""
        return replace(self, deltas=self.deltas.new_empty(len(self.clients), 0))


@dataclass(frozen=True, slots=True)
class Round:
    """One training round as the server saw it."""

    number: int
    """From 1."""
    updates: Updates
    cohort_examples: int
    """Records of the whole cohort, also of clients who have left since."""
    broadcast: Vector | None = None
    """The model that was sent out, [d], where it was kept."""

    @classmethod
    def of(cls, number: int, before: Vector, updates: Updates) -> "Round":
        """Return the round in which a whole cohort was sent ``before`` [d] and sent ``updates``."""
        return cls(number, updates, int(updates.examples.sum()), before)

    @property
    def clients(self) -> tuple[ClientId, ...]:
        """Whose updates are here, ascending."""
        return self.updates.clients

    @property
    def before(self) -> Vector:
        """The model that was sent out, [d]; raises LookupError where it was not kept."""
        if self.broadcast is None:
            raise LookupError(
                f"Round {self.number} keeps no broadcast model; declare Needs(models=True)."
            )
        return self.broadcast

    def only(self, clients: Set[ClientId]) -> "Round":
        """Drop what others than ``clients`` sent."""
        return replace(self, updates=self.updates.only(clients))

    def without(self, clients: Set[ClientId]) -> "Round":
        """Drop what ``clients`` sent."""
        return replace(self, updates=self.updates.without(clients))

    def reduced(self, needs: Needs) -> "Round":
        """Keep only what ``needs`` names."""
        return replace(
            self,
            updates=self.updates if needs.updates else self.updates.hollow,
            broadcast=self.broadcast if needs.models else None,
        )

    def share(self, clients: Set[ClientId]) -> Vector:
        """Return what ``clients`` moved the model by: ``sum_u n_u delta_u / sum_k n_k``, [d].

        The denominator is the cohort of that day, so that the shares of all clients add up to
        the step that FedAvg took.
        """
        updates = self.updates.only(clients)
        weights = updates.examples.double() / self.cohort_examples
        return weights.to(updates.deltas.dtype) @ updates.deltas

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors kept."""
        models = 0 if self.broadcast is None else self.broadcast.nbytes
        return self.updates.deltas.nbytes + models


class RecordedRound(Protocol):
    """A stored round as strategies see it: a `Round` in memory, or one that is read from disk.

    Each property of a round on disk reads the file anew: ask once for what is used twice.
    """

    @property
    def number(self) -> int:
        """From 1."""

    @property
    def clients(self) -> tuple[ClientId, ...]:
        """Whose updates are here, ascending."""

    @property
    def updates(self) -> Updates:
        """What the clients sent back."""

    @property
    def cohort_examples(self) -> int:
        """Records of the whole cohort, also of clients who have left since."""

    @property
    def before(self) -> Vector:
        """The model that was sent out, [d]; raises LookupError where it was not kept."""

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors kept."""

    def share(self, clients: Set[ClientId]) -> Vector:
        """Return what ``clients`` moved the model by, [d]; see `Round.share`."""

    def only(self, clients: Set[ClientId]) -> "RecordedRound":
        """Drop what others than ``clients`` sent."""

    def without(self, clients: Set[ClientId]) -> "RecordedRound":
        """Drop what ``clients`` sent."""

    def reduced(self, needs: Needs) -> "RecordedRound":
        """Keep only what ``needs`` names."""


def in_memory(done: Round) -> RecordedRound:
    """Keep a round as it is."""
    return done


def fedavg_step(*groups: Updates) -> Vector:
    """Return the FedAvg step of all who answered, [d]: ``sum_k n_k delta_k / sum_k n_k``.

    This is the one rule for clients who fail where failures are tolerated: k runs over those of
    all ``groups`` who did answer, so that their weights make up for the others; where nobody
    answered the step is zero, and the model stays.
    """
    answered = [updates for updates in groups if updates.clients]
    if not answered:
        return groups[0].deltas.new_zeros(groups[0].deltas.shape[1])
    means = [mean(updates.deltas, updates.examples) for updates in answered]
    if len(means) == 1:
        return means[0]
    return mean(torch.stack(means), torch.stack([updates.examples.sum() for updates in answered]))
