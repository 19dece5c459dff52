"""What the server keeps of training: rounds, and in them each client's update."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, overload

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.layout import Layout, Vector
from fedunlearn.selection import Window, largest

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
    statistics: bool = False
    """Sums over each client's records, which determine the best last layer on the first model."""
    tensors: tuple[str, ...] = ()
    """Parameters of the model that it names."""
    complete: bool = False
    """Cannot work where a policy keeps fewer rounds or fewer updates than it asks for."""

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
            statistics=any(need.statistics for need in needs),
            complete=any(need.complete for need in needs),
            tensors=tuple(dict.fromkeys(name for need in needs for name in need.tensors)),
        )

    def check(self, layout: Layout) -> None:
        """Raise `Refused` for `tensors` that are no parameters of the model."""
        known = [part.name for part in layout.parts if not part.buffer]
        for name in self.tensors:
            if name not in known:
                guess = checks.nearest(name, known)
                raise checks.Refused(f"The model has no parameter {name}{guess}")


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


class Policy(Protocol):
    """Which rounds and whose updates are kept of what strategies ask for; see `policies`."""

    @property
    def window(self) -> int:
        """So many consecutive rounds are looked at together."""

    @property
    def most(self) -> int:
        """So many of them stay: those with the largest `score`."""

    def asks(self, needs: Needs) -> Needs:
        """Return ``needs`` with the interval at which rounds are looked at."""

    def updates(self, cohort: int) -> int:
        """Return how many of a cohort's updates stay: those of the largest `ranking`."""

    def score(self, done: Kept, layout: Layout) -> float:
        """Return how much a round matters next to the others of its window."""

    def ranking(self, done: Kept, layout: Layout) -> Tensor:
        """Return how much each update of a round matters, [k]."""


@dataclass(frozen=True, slots=True)
class AsNeeded:
    """Keep what the strategies declare, in a comparison what all of them together declare."""

    window: ClassVar[int] = 1
    most: ClassVar[int] = 1

    def asks(self, needs: Needs) -> Needs:
        """Look at the rounds that they ask for."""
        return needs

    def updates(self, cohort: int) -> int:
        """Keep all."""
        return cohort

    def score(self, done: Kept, layout: Layout) -> float:
        """Prefer none."""
        return 0.0

    def ranking(self, done: Kept, layout: Layout) -> Tensor:
        """Prefer none."""
        return torch.zeros(len(done.clients))


def left_out(policy: Policy, done: Kept, layout: Layout) -> frozenset[ClientId]:
    """Return whose updates of a round ``policy`` does not keep."""
    clients = done.clients
    count = policy.updates(len(clients))
    if count >= len(clients):
        return frozenset()
    rows = largest(policy.ranking(done, layout), count)
    return frozenset(clients) - {clients[row] for row in rows}


def weighed(
    policy: Policy, done: Kept, layout: Layout, window: Window
) -> tuple[Window, int | None]:
    """Look at one more round in its window; see `Window.then`."""
    chooses = policy.most < policy.window
    score = policy.score(done, layout) if chooses else 0.0
    return window.then(score, policy.window, policy.most)


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
    statistics: Mapping[ClientId, Tensor] | None = None
    """The sums of each client, [f, f + classes] float64; None where nobody was asked for them."""
    policy: Policy = field(default_factory=AsNeeded)
    """Which rounds to come are kept, and what of them."""
    window: Window = field(default_factory=Window)
    """The rounds among which the policy is choosing now; those it keeps are the last ones here."""
    forgot: int = 0
    """The training round of the latest request: models sent out until then know who left."""

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
        window = self.window if len(kept) == len(self.rounds) else Window()
        return replace(self, rounds=kept, window=window).then(done, final, needs)

    @property
    def nbytes(self) -> int:
        """Bytes that the store holds: the initial model, all kept rounds, and statistics."""
        sums = sum(tensor.nbytes for tensor in (self.statistics or {}).values())
        return self.initial.nbytes + sum(kept.nbytes for kept in self.rounds) + sums

    def then(self, done: Round, final: Vector, needs: Needs) -> "History":
        """Record one more round as far as ``needs`` asks, and the model after it.

        The policy may leave it out, or leave out one before it instead: that one's file is no
        longer referred to.
        """
        if not self.policy.asks(needs).keeps(done.number):
            return replace(self, final=final)
        window, leaving = weighed(self.policy, done, self.layout, self.window)
        if leaving == -1:
            return replace(self, final=final, window=window)
        gone = left_out(self.policy, done, self.layout) if needs.updates else frozenset[ClientId]()
        rounds = [*self.rounds, self.keep(done.without(gone).reduced(needs))]
        if leaving is not None:
            del rounds[leaving]
        return replace(self, final=final, rounds=tuple(rounds), window=window)

    def select(self, needs: Needs, after: int) -> "History":
        """Show a strategy what it declared: the first round of each complete block.

        Kept are the rounds ``1 + (j - 1) every`` for ``j = 1 … J = floor(after / every)``, and
        with the same numbers those of a recovery that went on beyond round ``after``.
        """
        asked = self.policy.asks(needs)
        begun = range(after - asked.every + 2, after + 1)  # of a block that is not complete
        rounds = (r for r in self.rounds if asked.keeps(r.number) and r.number not in begun)
        sums = self.statistics if needs.statistics else None
        shown = tuple(r.reduced(needs) for r in rounds)
        return replace(self, rounds=shown, window=Window(), statistics=sums)

    def without(self, clients: Set[ClientId]) -> "History":
        """Drop what ``clients`` sent, and the rounds in which nobody else took part."""
        rounds = tuple(kept.without(clients) for kept in self.rounds)
        chosen = rounds[len(rounds) - len(self.window.scores) :]
        scored = zip(self.window.scores, chosen, strict=True)
        window = replace(self.window, scores=tuple(score for score, kept in scored if kept.clients))
        sums = self.statistics
        if sums is not None:
            sums = {client: own for client, own in sums.items() if client not in clients}
        left = tuple(kept for kept in rounds if kept.clients)
        return replace(self, rounds=left, window=window, statistics=sums)
