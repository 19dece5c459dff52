"""What the server keeps of training: rounds, and in them each client's update."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, overload

from torch import Tensor

from fedunlearn import checks
from fedunlearn.layout import Layout, Vector

ClientId = int
"""The number of the client's data partition: stable across rounds, runs and engines."""


@dataclass(frozen=True, slots=True)
class Updates:
    """What a cohort of k clients sent back."""

    clients: tuple[ClientId, ...]
    """Ascending, [k]."""
    deltas: Tensor
    """``local - broadcast``, [k, d] float32."""
    examples: Tensor
    """Records that each client trained on, [k] int64."""

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
class Needs:
    """What a strategy asks training to record, so that storage is a measured cost."""

    updates: bool = False
    """Per-client updates of the kept rounds."""
    every: int = 1
    """Keep the first round of each block of this many."""
    models: bool = False
    """The broadcast model of the kept rounds."""
    remaining: bool = False
    """Asks those who remain to work."""
    leaver: bool = False
    """Asks the leaving client to work once more."""
    proxy: bool = False
    """Unlabelled records on the server."""
    replaces: bool = False
    """Its ordinary rounds take the place of the training rounds of the same number and all after
    them, as those of a rollback do: a later request finds what really led to the model."""

    def __post_init__(self) -> None:
        """Raise `Refused` unless ``every`` counts rounds."""
        checks.whole("strategy.interval", self.every)

    @property
    def rounds(self) -> bool:
        """Whether any round must be kept."""
        return self.updates or self.models

    def keeps(self, number: int) -> bool:
        """Whether round ``number`` is kept: those are 1, 1 + every, 1 + 2 every, and so on."""
        return self.rounds and (number - 1) % self.every == 0

    @staticmethod
    def union(wanted: Iterable["Needs"]) -> "Needs":
        """Return what serves all of ``wanted``; intervals meet in their greatest divisor."""
        needs = list(wanted)
        return Needs(
            updates=any(need.updates for need in needs),
            every=math.gcd(*(need.every for need in needs if need.rounds)) or 1,
            models=any(need.models for need in needs),
            remaining=any(need.remaining for need in needs),
            leaver=any(need.leaver for need in needs),
            proxy=any(need.proxy for need in needs),
            replaces=any(need.replaces for need in needs),
        )


@dataclass(frozen=True, slots=True)
class Keep:
    """What the server is willing to keep of training, in memory; `stores.OnDisk` keeps it there."""

    encoding: ClassVar[str] = "float32"

    updates: bool = True
    models: bool = True

    def on_disk(self, nbytes: int) -> bool:
        """Say that rounds stay in memory, however many bytes they take."""
        return False

    def check(self, strategy: str, needs: Needs) -> None:
        """Raise `Refused` if ``strategy`` needs what is not kept."""
        for what, wanted, kept in (
            ("updates", needs.updates, self.updates),
            ("models", needs.models, self.models),
        ):
            if wanted and not kept:
                raise checks.Refused(
                    f"strategy={strategy} needs stored {what}, but history.{what}=false keeps none."
                    " Set history=memory, or choose a strategy that stores nothing."
                )


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


class Kept(Protocol):
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

    def without(self, clients: Set[ClientId]) -> "Kept":
        """Drop what ``clients`` sent."""

    def reduced(self, needs: Needs) -> "Kept":
        """Keep only what ``needs`` names."""


def in_memory(done: Round) -> Kept:
    """Keep a round as it is."""
    return done


@dataclass(frozen=True)
class History(Sequence[Kept]):
    """The kept rounds of a training run, oldest first; a value: methods return new ones."""

    layout: Layout
    initial: Vector
    """The model before round 1, [d]: the only one that no client has touched."""
    final: Vector
    """The model now, [d]."""
    rounds: tuple[Kept, ...] = ()
    keep: Callable[[Round], Kept] = in_memory
    """Where a round goes that is to be kept."""

    @overload
    def __getitem__(self, index: int) -> Kept: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Kept, ...]: ...
    def __getitem__(self, index: int | slice) -> Kept | tuple[Kept, ...]:
        """Return the kept round at a position (not by its number)."""
        return self.rounds[index]

    def __len__(self) -> int:
        """Return how many rounds are kept."""
        return len(self.rounds)

    def __iter__(self) -> Iterator[Kept]:
        """Go through the kept rounds, oldest first."""
        return iter(self.rounds)

    def redone(self, done: Round, final: Vector, needs: Needs) -> "History":
        """Record a round that takes the place of that number and of all after it."""
        kept = tuple(kept for kept in self.rounds if kept.number < done.number)
        return replace(self, rounds=kept).then(done, final, needs)

    @property
    def nbytes(self) -> int:
        """Bytes that the store holds: the initial model and the tensors of every kept round."""
        return self.initial.nbytes + sum(kept.nbytes for kept in self.rounds)

    def then(self, done: Round, final: Vector, needs: Needs) -> "History":
        """Record one more round as far as ``needs`` asks, and the model after it."""
        if not needs.keeps(done.number):
            return replace(self, final=final)
        kept = self.keep(done.reduced(needs))
        return replace(self, final=final, rounds=(*self.rounds, kept))

    def select(self, needs: Needs, after: int) -> "History":
        """Show a strategy what it declared: the first round of each complete block.

        Kept are the rounds ``1 + (j - 1) every`` for ``j = 1 … J = floor(after / every)``.
        """
        last = after - needs.every + 1
        rounds = (r for r in self.rounds if needs.keeps(r.number) and r.number <= last)
        return replace(self, rounds=tuple(r.reduced(needs) for r in rounds))

    def without(self, clients: Set[ClientId]) -> "History":
        """Drop what ``clients`` sent, and the rounds in which nobody else took part."""
        rounds = (kept.without(clients) for kept in self.rounds)
        return replace(self, rounds=tuple(r for r in rounds if r.clients))
