"""Any Flower app can forget: wrap its strategy in `Unlearning` (see docs/flower.md)."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower_strategies
from flwr.serverapp.strategy import Result, Strategy

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower.identity import require_nodes
from fedunlearn.flower.plain_channel import PlainChannel, tensors
from fedunlearn.flower.plain_nodes import PlainNodes
from fedunlearn.history import History
from fedunlearn.models import Layout, Vector
from fedunlearn.unlearning import (
    Access,
    FederationState,
    Ledger,
    Moment,
    Request,
    ScopedClients,
    Step,
    Steps,
    UnlearningStrategy,
    forget,
    plan,
    recovery,
    train,
)

logger = logging.getLogger("flwr")

PRIVATE = tuple(
    getattr(flower_strategies, name)
    for name in flower_strategies.__all__
    if name.startswith("DifferentialPrivacy")
)


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
        _check_method(method)
        _check_wrapped(strategy)
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
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Train ``num_rounds`` rounds, serve the withdrawals, and return Flower's Result.

        The keys of the Result count all models, those of unlearning and recovery among them, and
        so does the round that ``evaluate_fn`` and evaluating clients are told. Raises `Refused`
        before training for what cannot be served, and `ClientFailed` if a client fails.
        """
        checks.whole("num_rounds", num_rounds)
        requests = plan(self.requests, len(self.clients), num_rounds)
        self._check_remaining()
        named = tensors(initial_arrays)
        layout = Layout.of_tensors(named)
        require_nodes(grid, len(self.clients))
        initial = _checked(layout.flatten(named).float())
        result = Result(initial_arrays)
        self.curve = [Step(Moment("train", 0, 0), initial)]
        self.ledger = Ledger()  # the seed is of the server alone: clients draw their own numbers
        channel = PlainChannel(
            nodes=PlainNodes(grid, timeout, self.tolerated_failures),
            strategy=self.strategy,
            layout=layout,
            kinds={name: array.numpy().dtype for name, array in initial_arrays.items()},
            config=train_config or ConfigRecord(),
            heard=lambda metrics: result.train_metrics_clientapp.update({len(self.curve): metrics}),
        )
        clients = ScopedClients(channel, 0, self.ledger, Access(self.clients))
        self.summary()
        _judge(result, evaluate_fn, 0, initial_arrays)
        state = FederationState(History(layout, initial, initial), self.clients)
        for step in self._steps(state, clients, requests, num_rounds):
            if step.moment.round == 0:
                continue  # the model before a request is the one after the round before it
            key = self._appended(step)
            result.arrays = channel.pack(step.weights)
            present = _present(self.clients, requests, step)
            self._evaluate(result, key, channel, present, evaluate_config)
            _judge(result, evaluate_fn, key, result.arrays)
        logger.info("%s", result)
        return result

    def _appended(self, step: Step) -> int:
        """Add a model to the curve; return its place."""
        key = len(self.curve)
        self.curve.append(step)
        logger.info("[MODEL %d] %s round %d", key, step.moment.phase, step.moment.round)
        return key

    def _steps(
        self,
        state: FederationState,
        clients: ScopedClients,
        requests: Sequence[Request],
        rounds: int,
    ) -> Steps:
        """Yield every model of the run."""
        needs = self.method.needs
        for request in requests:
            state = yield from train(state, clients, request.after, needs)
            state = yield from forget(
                state, request.clients, self.method, self.recovery, clients, needs
            )
        state = yield from train(state, clients, rounds, needs)
        self.history = state.history
        return state

    def _evaluate(
        self,
        result: Result,
        key: int,
        channel: PlainChannel,
        present: frozenset[ClientId],
        config: ConfigRecord | None,
    ) -> None:
        """Let the clients who are present evaluate a model, as the wrapped strategy does it."""
        copied = ConfigRecord(dict(config or {}))  # strategies write into it
        grid = channel.nodes.present(present)
        messages = self.configure_evaluate(key, result.arrays, copied, grid)
        metrics = self.aggregate_evaluate(key, channel.evaluate(present, list(messages)))
        if metrics is not None:
            result.evaluate_metrics_clientapp[key] = metrics

    def _check_remaining(self) -> None:
        """Flower's strategies wait without end for nodes that are not there."""
        left = len(self.clients) - sum(len(request.clients) for request in self.requests)
        for name in ("min_available_nodes", "min_train_nodes", "min_evaluate_nodes"):
            wanted = getattr(self.strategy, name, 0)
            if wanted > left:
                raise Refused(
                    f"{left} clients remain in the end, but {type(self.strategy).__name__} waits "
                    f"for {name}={wanted}. Lower it, or let fewer clients leave."
                )

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


def _present(
    clients: frozenset[ClientId], requests: Sequence[Request], step: Step
) -> frozenset[ClientId]:
    """Return who of ``clients`` was present at ``step``."""
    return clients.difference(*(request.clients for request in requests[: step.moment.request]))


def _judge(
    result: Result,
    evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None,
    key: int,
    arrays: ArrayRecord,
) -> None:
    """Evaluate a model on the server, if the user does."""
    metrics = evaluate_fn(key, arrays) if evaluate_fn else None
    if metrics is not None:
        result.evaluate_metrics_serverapp[key] = metrics


def _checked(initial: Vector) -> Vector:
    """Return the first model; raise `Refused` where it has nothing to train or is not finite."""
    if not len(initial):
        raise Refused("initial_arrays hold no array of floating point: there is nothing to train.")
    if not initial.isfinite().all():
        raise Refused("initial_arrays hold numbers that are NaN or infinite (as float32).")
    return initial


def _check_method(method: UnlearningStrategy) -> None:
    for wanted, what in (
        (method.needs.proxy, "unlabelled records on the server, and a Flower app has none there"),
        (method.needs.statistics, "sums over records, which plain clients do not know to make"),
        (method.needs.leaver, "the leavers to work once more, and plain clients are not asked"),
    ):
        if wanted:
            raise Refused(f"{type(method).__name__} needs {what}. Choose another method.")


def _check_wrapped(strategy: Strategy) -> None:
    if isinstance(strategy, PRIVATE):
        raise Refused(
            f"{type(strategy).__name__} cannot be wrapped: unlearning trains again, which its "
            "privacy budget does not count."
        )
