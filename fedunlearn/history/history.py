"""The kept rounds of a training run: a value, from which who left can be dropped."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import overload

from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history.needs import Needs
from fedunlearn.history.policy import AsNeeded, Policy, left_out, weighed
from fedunlearn.history.rounds import RecordedRound, Round, in_memory
from fedunlearn.history.selection import Window
from fedunlearn.models import Layout, Vector


@dataclass(frozen=True)
class History(Sequence[RecordedRound]):
    """The kept rounds of a training run, oldest first; a value: methods return new ones."""

    layout: Layout
    initial: Vector
    """The model before round 1, [d]: the only one that no client has touched."""
    final: Vector
    """The model now, [d]."""
    rounds: tuple[RecordedRound, ...] = ()
    record: Callable[[Round], RecordedRound] = in_memory
    """Where a round goes that is to be kept."""
    statistics: Mapping[ClientId, Tensor] | None = None
    """The sums of each client, [f, f + classes] float64; None where nobody was asked for them."""
    policy: Policy = field(default_factory=AsNeeded)
    """Which rounds to come are kept, and what of them."""
    window: Window = field(default_factory=Window)
    """The rounds among which the policy is choosing now; those it keeps are the last ones here."""
    forgot: int = 0
    """The training round of the latest request: models sent out until then know who left."""
    notes: Mapping[str, float] = field(default_factory=dict)
    """What a strategy noted at earlier requests, by name."""

    @overload
    def __getitem__(self, index: int) -> RecordedRound: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RecordedRound, ...]: ...
    def __getitem__(self, index: int | slice) -> RecordedRound | tuple[RecordedRound, ...]:
        """Return the kept round at a position (not by its number)."""
        return self.rounds[index]

    def __len__(self) -> int:
        """Return how many rounds are kept."""
        return len(self.rounds)

    def __iter__(self) -> Iterator[RecordedRound]:
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
        if not self.policy.asks(needs).includes(done.number):
            return replace(self, final=final)
        window, leaving = weighed(self.policy, done, self.layout, self.window)
        if leaving == -1:
            return replace(self, final=final, window=window)
        gone = left_out(self.policy, done, self.layout) if needs.updates else frozenset[ClientId]()
        rounds = [*self.rounds, self.record(done.without(gone).reduced(needs))]
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
        rounds = (r for r in self.rounds if asked.includes(r.number) and r.number not in begun)
        sums = self.statistics if needs.statistics else None
        shown = tuple(r.reduced(needs) for r in rounds)
        return replace(self, rounds=shown, window=Window(), statistics=sums)

    def with_sums(self, sums: Mapping[ClientId, Tensor]) -> "History":
        """Put in the statistics of clients who were asked anew, where there are any."""
        if self.statistics is None:
            return self
        return replace(self, statistics={**self.statistics, **sums})

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
