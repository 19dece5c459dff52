"""A run on paper: what a method would ask of plain clients is known before any of them trains."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from flwr.app import ConfigRecord
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.flower.plain_checks import check_method
from fedunlearn.flower.plain_work import (
    EPOCHS,
    plain_work,
    refuse_proxy,
    refuse_query,
    refuse_verifier,
    require_able,
)
from fedunlearn.flower.train_configs import TrainConfigs
from fedunlearn.history import History, Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Layout, Vector, mean
from fedunlearn.unlearning import (
    Access,
    Channel,
    ClientId,
    FederationState,
    Ledger,
    QueryTask,
    Request,
    ScopedClients,
    Step,
    Steps,
    TrainingTask,
    UnlearningStrategy,
    forget,
    recovery,
    train,
)

logger = logging.getLogger("flwr")

TRIED = ConfigRecord({EPOCHS: 4})
"""What an app is told in `reason_against`."""


@dataclass(frozen=True)
class Course:
    """What a run does: who leaves when, how that is served, and for how many rounds it trains."""

    method: UnlearningStrategy
    recovery: recovery.Recovery
    requests: Sequence[Request]
    rounds: int
    clients: frozenset[ClientId]

    def steps(self, layout: Layout, first: Vector, channel: Channel, ledger: Ledger) -> Steps:
        """Yield every model of a run that begins with ``first`` [d]."""
        asked = ScopedClients(channel, 0, ledger, Access(self.clients))
        state = FederationState(History(layout, first, first), self.clients)
        needs = self.method.needs
        for request in self.requests:
            state = yield from train(state, asked, request.after, needs)
            leavers = request.clients
            state = yield from forget(state, leavers, self.method, self.recovery, asked, needs)
        return (yield from train(state, asked, self.rounds, needs))

    def present(self, step: Step) -> frozenset[ClientId]:
        """Return who was present at ``step``."""
        served = self.requests[: step.moment.request]
        return self.clients.difference(*(request.clients for request in served))


@dataclass(frozen=True)
class Rehearsed:
    """What is known of a run before it begins."""

    models: int
    """How many it makes besides the first."""
    repeats: bool
    """Whether rounds are run again that had been done."""


def rehearse(course: Course, layout: Layout, first: Vector, configs: TrainConfigs) -> Rehearsed:
    """Go through a run on paper.

    Raises `Refused`, or PermissionError, for what plain clients could not be asked. A method that
    cannot do with made-up updates is not rehearsed: the count of its models is its own.
    """
    channel = RehearsedChannel(configs)
    models = 0
    try:
        for step in course.steps(layout, first, channel, Ledger()):
            models += step.moment.round > 0
    except (Refused, PermissionError):
        raise
    except Exception as error:
        logger.debug("%s was not rehearsed: %s", course.method, error)
        unlearned = (course.method.length(request) for request in course.requests)
        recovered = len(course.requests) * course.recovery.rounds
        return Rehearsed(course.rounds + sum(unlearned) + recovered, repeats=True)
    return Rehearsed(models, channel.repeats)


def reason_against(method: UnlearningStrategy) -> str:
    """Return why no plain app can be served by ``method``, or nothing where it can be."""
    layout = Layout.of(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    first = torch.linspace(-1, 1, layout.size)
    requests = (Request(frozenset({1}), 4),)
    course = Course(method, recovery.NoRecovery(), requests, 5, frozenset(range(4)))
    try:
        check_method(method)
        rehearse(course, layout, first, TrainConfigs.of(TRIED))
    except (Refused, PermissionError) as error:
        return str(error)
    return ""


@dataclass
class RehearsedChannel:
    """Clients who answer at once with made-up updates (see `Channel`), and note what is asked."""

    configs: TrainConfigs
    repeats: bool = False
    """Whether rounds are run again that had been done."""
    done: int = 0

    @property
    def work(self) -> LocalWork:
        """The app's local training."""
        return plain_work(self.configs)

    @property
    def proxy(self) -> NoReturn:
        """Raise, as real clients do."""
        refuse_proxy()

    def verifier(self, request: int) -> NoReturn:
        """Raise: nobody tests models on the server."""
        refuse_verifier()

    def train(self, asking: ScopedClients, task: TrainingTask) -> Updates:
        """Refuse what real clients cannot do, and return updates; see `strategy.Clients.train`."""
        require_able(self.configs, task.work, task.other, task.mask)
        serving = asking.ledger.moment.phase == "unlearn"
        self.repeats |= serving and task.round <= self.done
        self.done = self.done if serving else max(self.done, task.round)
        asked = tuple(sorted(asking.ids)) if task.who is None else task.who
        examples = torch.full((len(asked),), 100, dtype=torch.int64)
        return Updates(asked, self._moved(asked, task.weights, task.round), examples)

    def rounds(
        self, asking: ScopedClients, weights: Vector, first: int, last: int, work: LocalWork
    ) -> Iterator[tuple[Updates, Vector]]:
        """Return rounds of plain averaging; see `strategy.Clients.rounds`."""
        for number in range(first, last + 1):
            updates = self.train(asking, TrainingTask(weights, None, work, number, None))
            weights = weights + mean(updates.deltas, updates.examples)
            yield updates, weights

    def query(self, asking: ScopedClients, task: QueryTask) -> NoReturn:
        """Raise, as real clients do."""
        refuse_query()

    def _moved(self, asked: Sequence[ClientId], weights: Vector, round: int) -> torch.Tensor:
        """Return short updates [k, d], of another length and direction for everybody."""
        draws = torch.Generator().manual_seed(round)
        shared = torch.randn(2, len(weights), generator=draws)
        turns = torch.tensor([[1.0, 0.1 * (client % 7 + 1)] for client in asked])
        return 1e-3 * (turns @ shared) / round
