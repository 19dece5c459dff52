"""Which rounds and whose updates stay: what a policy says, and how it is asked."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history.needs import Needs
from fedunlearn.history.rounds import RecordedRound
from fedunlearn.history.selection import Window, largest
from fedunlearn.models import Layout


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

    def score(self, done: RecordedRound, layout: Layout) -> float:
        """Return how much a round matters next to the others of its window."""

    def ranking(self, done: RecordedRound, layout: Layout) -> Tensor:
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

    def score(self, done: RecordedRound, layout: Layout) -> float:
        """Prefer none."""
        return 0.0

    def ranking(self, done: RecordedRound, layout: Layout) -> Tensor:
        """Prefer none."""
        return torch.zeros(len(done.clients))


def left_out(policy: Policy, done: RecordedRound, layout: Layout) -> frozenset[ClientId]:
    """Return whose updates of a round ``policy`` does not keep."""
    clients = done.clients
    count = policy.updates(len(clients))
    if count >= len(clients):
        return frozenset()
    rows = largest(policy.ranking(done, layout), count)
    return frozenset(clients) - {clients[row] for row in rows}


def weighed(
    policy: Policy, done: RecordedRound, layout: Layout, window: Window
) -> tuple[Window, int | None]:
    """Look at one more round in its window; see `Window.then`."""
    chooses = policy.most < policy.window
    score = policy.score(done, layout) if chooses else 0.0
    return window.then(score, policy.window, policy.most)
