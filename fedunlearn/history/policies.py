"""Policies: which rounds are kept of training, and whose updates; `history.AsNeeded` keeps all.

What a policy leaves out is never written; a round that a later one of its window outdoes goes.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Count, ShareAboveZero
from fedunlearn.history.history import History
from fedunlearn.history.needs import Needs
from fedunlearn.history.policy import AsNeeded, Policy, left_out, weighed
from fedunlearn.history.rounds import RecordedRound
from fedunlearn.history.selection import Window, contributions, cosines, part
from fedunlearn.models import Layout


@dataclass(frozen=True, slots=True)
class Every:
    """Keep rounds 1, 1 + n, 1 + 2 n, … of those that strategies ask for."""

    window: ClassVar[int] = 1
    most: ClassVar[int] = 1

    rounds: Count = 2
    """Keeps one in so many of the rounds that strategies ask for."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def asks(self, needs: Needs) -> Needs:
        """Widen the interval to the least common multiple."""
        return replace(needs, every=math.lcm(needs.every, self.rounds))

    def updates(self, cohort: int) -> int:
        """Keep all."""
        return cohort

    def score(self, done: RecordedRound, layout: Layout) -> float:
        """Prefer none."""
        return 0.0

    def ranking(self, done: RecordedRound, layout: Layout) -> Tensor:
        """Prefer none."""
        return torch.zeros(len(done.clients))


@dataclass(frozen=True, slots=True)
class Drift:
    """Keep the rounds that moved the model most, and of them the updates that point along it.

    Of each ``window`` rounds the share ``rounds`` stays, by ``|sum_k n_k delta_k / sum_k n_k|``;
    of each cohort the share ``clients``, by `selection.cosines`. The intervals of strategies have
    no say. Jiang, Shen, Liu, Tan, Lam (Crab), TIFS 2025, arXiv 2401.08216, whose code closes a
    window once the training loss fell by a tenth; no loss reaches this server, so windows are of
    a fixed length here, and drift is a length in place of a divergence of softmaxed weights.
    """

    window: Count = 5
    """Rounds that are looked at together."""
    rounds: ShareAboveZero = 0.6
    """Share of them that stays: those that moved the model most."""
    clients: ShareAboveZero = 0.7
    """Share of each cohort whose updates stay: the best aligned with the model."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def most(self) -> int:
        """The share ``rounds`` of a window, rounded down, and at least one."""
        return part(self.rounds, self.window)

    def asks(self, needs: Needs) -> Needs:
        """Look at every round."""
        return replace(needs, every=1)

    def updates(self, cohort: int) -> int:
        """Return the share ``clients``, rounded down, and at least one."""
        return part(self.clients, cohort)

    def score(self, done: RecordedRound, layout: Layout) -> float:
        """Return the length of the averaged update."""
        step = done.share(set(done.clients))[layout.parameters]
        return float(torch.linalg.vector_norm(step))

    def ranking(self, done: RecordedRound, layout: Layout) -> Tensor:
        """Return the mean cosine over tensors of each client's model and the one sent out."""
        return cosines(done.before, done.updates.deltas, layout.tensors)


@dataclass(frozen=True, slots=True)
class Largest:
    """Keep the updates of each round that moved the model most, by ``n_k |delta_k|``.

    As the public code of Huynh et al. (Fast-FedUL), ECML-PKDD 2024, arXiv 2405.18040; their paper
    draws them with such probabilities.
    """

    window: ClassVar[int] = 1
    most: ClassVar[int] = 1

    clients: ShareAboveZero = 0.5
    """Share of each cohort whose updates stay: those that moved the model most."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def asks(self, needs: Needs) -> Needs:
        """Look at the rounds that they ask for."""
        return needs

    def updates(self, cohort: int) -> int:
        """Return the share ``clients``, rounded down, and at least one."""
        return part(self.clients, cohort)

    def score(self, done: RecordedRound, layout: Layout) -> float:
        """Prefer none."""
        return 0.0

    def ranking(self, done: RecordedRound, layout: Layout) -> Tensor:
        """Return ``n_k |delta_k|``."""
        updates = done.updates
        return contributions(updates.deltas, updates.examples, layout.parameters)


def count_recorded(policy: Policy, needs: Needs, numbers: Iterable[int]) -> int:
    """Return how many rounds ``policy`` keeps for ``needs`` when those of ``numbers`` are done."""
    asked = policy.asks(needs)
    looked_at = sum(asked.includes(number) for number in numbers)
    whole, rest = divmod(looked_at, policy.window)
    return whole * policy.most + min(rest, policy.most)


class Selected(NamedTuple):
    """Rounds that a policy chose, oldest first."""

    rounds: tuple[RecordedRound, ...]
    complete: bool
    """Whether it could choose among all rounds and updates that were asked for: whoever is in none
    of the rounds has then left little. Otherwise that may have gone before."""


def selected_rounds(history: History, policy: Policy) -> Selected:
    """Return the rounds that ``policy`` keeps of ``history``; all, if it chose them already."""
    complete = history.policy == AsNeeded()
    if history.policy == policy:
        return Selected(history.rounds, complete)
    shown: list[RecordedRound] = []
    window = Window()
    for stored in history:
        window, leaving = weighed(policy, stored, history.layout, window)
        shown.append(stored)
        if leaving is not None:
            del shown[leaving]
    return Selected(tuple(shown), complete)


def selected_updates(history: History, policy: Policy, stored: RecordedRound) -> RecordedRound:
    """Return a round with the updates that ``policy`` keeps; all, if it chose them already."""
    if history.policy == policy:
        return stored
    return stored.without(left_out(policy, stored, history.layout))
