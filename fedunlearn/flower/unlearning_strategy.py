"""Any Flower app can forget: wrap its strategy in `Unlearning` (see docs/flower.md)."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower.identity import require_nodes
from fedunlearn.flower.own_start import Silent, has_own_start, run_own_start
from fedunlearn.flower.plain_channel import PlainChannel
from fedunlearn.flower.plain_checks import check_method, check_remaining, check_wrapped
from fedunlearn.flower.plain_models import PlainModels
from fedunlearn.flower.plain_nodes import PlainNodes
from fedunlearn.flower.rehearsal import Course, rehearse
from fedunlearn.flower.train_configs import TrainConfigs
from fedunlearn.history import History
from fedunlearn.unlearning import (
    Ledger,
    Moment,
    Request,
    Step,
    UnlearningStrategy,
    plan,
    recovery,
)

logger = logging.getLogger("flwr")

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


class Unlearning(Strategy):
    """A Flower strategy that trains as ``strategy`` does and forgets by ``method``.

    ``withdrawals`` maps a training round to the clients who leave after it; ``clients`` is the
    size of the federation, whose members are 0 … clients - 1. Each stretch of ordinary
    rounds starts from a copy of ``strategy`` as it is given: after a request its momentum would be
    made of past updates, the leavers' among them. Each time that clients are asked, so many as
    ``tolerated_failures`` says may fail, or send what cannot be used, once it is known who is who.
    """

    def __init__(
        self,
        strategy: Strategy,
        method: UnlearningStrategy,
        withdrawals: Mapping[int, Collection[ClientId]],
        *,
        clients: int,
        recovery: recovery.Recovery = recovery.NoRecovery(),
        tolerated_failures: int = 0,
    ) -> None:
        checks.whole("clients", clients)
        checks.whole("tolerated_failures", tolerated_failures, at_least=0)
        check_method(method)
        check_wrapped(strategy)
        self.strategy = strategy
        self.method = method
        self.requests = tuple(Request(frozenset(who), r) for r, who in withdrawals.items())
        self.clients = frozenset(range(clients))
        self.recovery = recovery
        self.tolerated_failures = tolerated_failures
        self.curve: list[Step] = []
        """Every model in its order; the keys of Flower's Result are positions in this list."""
        self.ledger = Ledger()
        """What the training messages cost."""
        self.history: History | None = None
        """What is stored after the run: nothing of anybody who left."""

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFn | None = None,
    ) -> Result:
        """Train ``num_rounds`` rounds, serve the withdrawals, and return Flower's Result.

        The keys of the Result count all models, those of unlearning and recovery among them, and
        so does the round that ``evaluate_fn`` and evaluating clients are told. Raises `Refused`
        before training for what cannot be served, and `ClientFailed` if a client fails.
        """
        checks.whole("num_rounds", num_rounds)
        requests = plan(self.requests, len(self.clients), num_rounds)
        check_remaining(
            self.strategy, len(self.clients) - sum(len(request.clients) for request in requests)
        )
        models = PlainModels.of(initial_arrays)
        require_nodes(grid, len(self.clients))
        self.ledger = Ledger()  # the seed is of the server alone: clients draw their own numbers
        heard: dict[int, MetricRecord] = {}
        channel = PlainChannel(
            nodes=PlainNodes(grid, timeout, self.tolerated_failures),
            strategy=self.strategy,
            models=models,
            configs=TrainConfigs.of(train_config or ConfigRecord()),
            heard=lambda metrics: heard.update({len(self.curve): metrics}),
            replaying=type(self.method).__name__ if self.method.needs.updates else "",
        )
        course = Course(self.method, self.recovery, requests, num_rounds, self.clients)
        expected = rehearse(course, models.layout, models.first, channel.configs)
        channel.repeats = expected.repeats
        run = _Run(self, channel, course, heard)
        self.curve = [Step(Moment("train", 0, 0), models.first)]
        told = ConfigRecord(dict(evaluate_config or {}))  # strategies write into it
        if has_own_start(self.strategy):
            configs = (train_config or ConfigRecord(), told)
            return run.own_start(initial_arrays, expected.models, timeout, configs, evaluate_fn)
        self.summary()
        return run.start(initial_arrays, told, evaluate_fn)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Do as the wrapped strategy does."""
        return self.strategy.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Do as the wrapped strategy does."""
        return self.strategy.aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Do as the wrapped strategy does."""
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Do as the wrapped strategy does."""
        return self.strategy.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """Log the method and the withdrawals, and the wrapped strategy's own summary."""
        logger.info("Unlearning by %s", self.method)
        for request in self.requests:
            logger.info("After round %d leave %s", request.after, sorted(request.clients))
        self.strategy.summary()


@dataclass
class _Run:
    """One run of `Unlearning`: all models in their order, and who evaluates them."""

    unlearning: Unlearning
    channel: PlainChannel
    course: Course
    heard: dict[int, MetricRecord]
    """The aggregated metrics of training, by the key of the model."""

    def start(
        self, initial: ArrayRecord, told: ConfigRecord, evaluate_fn: EvaluateFn | None
    ) -> Result:
        """Make all models, and let clients and the server evaluate each."""
        result = Result(initial)
        _judge(result, evaluate_fn, 0, initial)
        for key, step in self._models():
            result.arrays = self.channel.models.pack(step.weights)
            if key in self.heard:
                result.train_metrics_clientapp[key] = self.heard[key]
            present, grid = self._present(step)
            messages = self.unlearning.configure_evaluate(key, result.arrays, told, grid)
            replies = self.channel.evaluate(present, list(messages))
            metrics = self.unlearning.aggregate_evaluate(key, replies)
            if metrics is not None:
                result.evaluate_metrics_clientapp[key] = metrics
            _judge(result, evaluate_fn, key, result.arrays)
        logger.info("%s", result)
        return result

    def own_start(
        self,
        initial: ArrayRecord,
        expected: int,
        timeout: float,
        configs: tuple[ConfigRecord, ConfigRecord],
        evaluate_fn: EvaluateFn | None,
    ) -> Result:
        """Let the strategy's own loop have one model a round."""
        unlearning, grid = self.unlearning, self.channel.nodes.grid
        silent = Silent(grid, type(unlearning.strategy).__name__)
        models = self._models()
        latest = unlearning.curve[0]

        def train(*_: object) -> tuple[ArrayRecord | None, MetricRecord | None]:
            nonlocal latest
            key, step = next(models, (0, latest))
            if not key:
                return None, None
            latest = step
            return self.channel.models.pack(step.weights), self.heard.get(key)

        def evaluate(key: int, arrays: ArrayRecord, told: ConfigRecord, _: Grid) -> list[Message]:
            present, scoped = self._present(latest)
            silent.evaluate = partial(self.channel.evaluate, present)
            silent.handed = list(unlearning.configure_evaluate(key, arrays, told, scoped))
            return silent.handed

        hooks: dict[str, Callable[..., Any]] = {
            "configure_train": lambda *args, **named: [],
            "aggregate_train": train,
            "configure_evaluate": evaluate,
            "aggregate_evaluate": unlearning.aggregate_evaluate,
            "summary": unlearning.summary,
        }
        asked = (initial, expected, timeout, configs, evaluate_fn)
        result = run_own_start(unlearning.strategy, hooks, silent, *asked)
        if next(models, None) is not None:
            raise _ended_early(unlearning.strategy, expected)
        return result

    def _models(self) -> Iterator[tuple[int, Step]]:
        """Yield every model with its key, but for the first; each goes into the curve."""
        curve, models = self.unlearning.curve, self.channel.models
        steps = self.course.steps(models.layout, models.first, self.channel, self.unlearning.ledger)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                self.unlearning.history = end.value.history
                return
            if step.moment.round == 0:
                continue  # the model before a request is the one after the round before it
            curve.append(step)
            key = len(curve) - 1
            logger.info("[MODEL %d] %s round %d", key, step.moment.phase, step.moment.round)
            yield key, step

    def _present(self, step: Step) -> tuple[frozenset[ClientId], Grid]:
        """Return who was present at ``step``, and the grid with their nodes."""
        present = self.course.present(step)
        return present, self.channel.nodes.present(present)


def _judge(
    result: Result,
    evaluate_fn: EvaluateFn | None,
    key: int,
    arrays: ArrayRecord,
) -> None:
    """Evaluate a model on the server, if the user does."""
    metrics = evaluate_fn(key, arrays) if evaluate_fn else None
    if metrics is not None:
        result.evaluate_metrics_serverapp[key] = metrics


def _ended_early(strategy: Strategy, expected: int) -> Refused:
    """Return the refusal of a strategy whose own ``start`` made fewer models than ``expected``."""
    return Refused(
        f"{type(strategy).__name__}.start ended before all of {expected} models were made, so that "
        "not everybody is forgotten. Let it call aggregate_train in each of num_rounds rounds, or "
        "wrap a strategy without a start of its own."
    )
