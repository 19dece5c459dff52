"""The rounds after unlearning, shared by all strategies so that they are compared at equal cost."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from fedunlearn import checks
from fedunlearn.checks import Count, Positive
from fedunlearn.history import Updates, fedavg_step
from fedunlearn.local import LocalWork, Schedule
from fedunlearn.models import Vector, deflect
from fedunlearn.unlearning.strategy import Clients


class Recovery(Protocol):
    """What happens between a strategy's last model and the next training round."""

    @property
    def rounds(self) -> int:
        """How many rounds `recover` takes."""

    def recover(
        self, weights: Vector, original: Vector, after: int, clients: Clients
    ) -> Iterator[tuple[Updates, Vector]]:
        """Yield the updates of each recovery round and the model [d] after it.

        ``weights`` [d] is the unlearned model, ``original`` [d] the one before unlearning, and
        ``after`` the training round at which the request came.
        """


@dataclass(frozen=True, slots=True)
class NoRecovery:
    """No recovery: the strategy's last model is the result."""

    @property
    def rounds(self) -> int:
        """Take no rounds."""
        return 0

    def recover(
        self, weights: Vector, original: Vector, after: int, clients: Clients
    ) -> Iterator[tuple[Updates, Vector]]:
        """Yield nothing."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Plain:
    """Ordinary training rounds with those who remain."""

    rounds: Count = 5
    """Ordinary rounds with those who remain."""
    batches: Count | None = None
    """The most steps of a client in a round; None: as in training."""
    schedule: Schedule | None = None
    """The learning rate by round of recovery, from 1; None: training's own goes on."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def recover(
        self, weights: Vector, original: Vector, after: int, clients: Clients
    ) -> Iterator[tuple[Updates, Vector]]:
        """Train on, by default with the learning rates that the next rounds would have had."""
        work = _recovering(clients.work, after, self.batches, self.schedule)
        return clients.rounds(weights, after + 1, after + self.rounds, work)


@dataclass(frozen=True, slots=True)
class Projected:
    """Ordinary training that may not go back: FedOSD's second stage, for any strategy.

    ``w <- w + lr sum_k n_k g'_k / sum_k n_k`` with ``g'_k = g_k - (g_k . a / |a|^2) a`` at the
    length of g_k, client k's update, and ``a = w - w_pre``, the way that unlearning and recovery
    have come from the model before. Its opposite is the way back to what was forgotten; both
    directions along it are closed. Where a = 0 this is `Plain` with a server that averages.

    Updates are yielded as they moved the model: projected, and ``lr`` times as long.

    Pan, Wang, Li, Zheng, Wang, Tang, Zhao. Federated unlearning with gradient descent and conflict
    mitigation. AAAI 2025, arXiv 2412.20200.
    """

    rounds: Count = 5
    """Rounds across the way back to the model before unlearning."""
    lr: Positive = 1.0
    """Factor on the mean of the projected updates; 1 takes it as it is."""
    batches: Count | None = None
    """The most steps of a client in a round; None: as in training."""
    schedule: Schedule | None = None
    """The learning rate by round of recovery, from 1; None: training's own goes on."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def recover(
        self, weights: Vector, original: Vector, after: int, clients: Clients
    ) -> Iterator[tuple[Updates, Vector]]:
        """Train on, across the way from ``original`` [d]."""
        work = _recovering(clients.work, after, self.batches, self.schedule)
        for number in range(after + 1, after + self.rounds + 1):
            updates = clients.train(weights, work=work, round=number)
            deflect(updates.deltas, weights - original)
            if self.lr != 1:
                updates.deltas.mul_(self.lr)
            weights = weights + fedavg_step(updates)
            yield updates, weights


def _recovering(
    work: LocalWork, after: int, batches: int | None, schedule: Schedule | None
) -> LocalWork:
    """Return a client's work in the recovery that follows training round ``after``."""
    work = work if batches is None else replace(work, batches=batches)
    return work if schedule is None else replace(work, schedule=replace(schedule, after=after))
