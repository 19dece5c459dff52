"""Clients whose Flower app knows nothing of unlearning: all they get is plain ``train`` messages.

A message is what the wrapped Flower strategy would send, and a reply what it expects: one
ArrayRecord of named float arrays and one MetricRecord with ``num-examples``.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NoReturn, cast

import torch
from flwr.app import ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import Strategy

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower.arrays import payload
from fedunlearn.flower.client_state import REWINDS
from fedunlearn.flower.identity import forget_identity
from fedunlearn.flower.plain_models import PlainModels
from fedunlearn.flower.plain_nodes import PlainNodes
from fedunlearn.flower.plain_work import (
    EPOCHS,
    plain_work,
    refuse_proxy,
    refuse_query,
    refuse_verifier,
    require_able,
)
from fedunlearn.flower.replies import Form, Reply, Wanted
from fedunlearn.flower.train_configs import TrainConfigs
from fedunlearn.history import Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Vector, mean
from fedunlearn.unlearning import QueryTask, ScopedClients, TrainingTask

logger = logging.getLogger("flwr")

UNLIKE = 1e-3
"""How far a strategy's step may be from the clients' weighted mean, next to its length."""

ROUNDING = 1e-6
"""The same next to the length of the first model: float32 is rounded at 1e-7."""

ADVICE = "lower the learning rate of the app, or clip its gradients"


@dataclass(frozen=True)
class Stretch:
    """Ordinary rounds, one after another, and what the next one would begin with."""

    strategy: Strategy
    config: ConfigRecord
    round: int
    """The last one."""
    weights: Vector
    """The model after it, [d]."""
    clients: frozenset[ClientId]
    work: LocalWork


@dataclass
class PlainChannel:
    """Plain clients behind a Flower Grid (see `Channel`).

    Ordinary rounds are those of ``strategy``: it chooses whom to ask and aggregates, from a copy
    that no earlier round has touched.
    """

    nodes: PlainNodes
    strategy: Strategy
    models: PlainModels
    configs: TrainConfigs
    """What is sent with training messages."""
    heard: Callable[[MetricRecord], None]
    """Gets the aggregated training metrics of every ordinary round."""
    replaying: str = ""
    """The method, where its equations replay weighted means of updates."""
    repeats: bool = False
    """Whether the method runs rounds again that had been done."""
    latest: Stretch | None = None
    """The ordinary rounds that were run last."""
    rewinds: list[int] = field(default_factory=list)
    """Rounds to which training went back, in order; clients who keep state are told them."""

    @property
    def work(self) -> LocalWork:
        """The app's local training: of it, only the number of epochs is known and can be asked."""
        return plain_work(self.configs)

    @property
    def proxy(self) -> NoReturn:
        """Raise: there are no records on the server."""
        refuse_proxy()

    def verifier(self, request: int) -> NoReturn:
        """Raise: nobody tests models on the server."""
        refuse_verifier()

    def train(self, asking: ScopedClients, task: TrainingTask) -> Updates:
        """Let clients train; see `strategy.Clients.train`.

        Raises `Refused` for work that a message to plain clients cannot describe.
        """
        require_able(self.configs, task.work, task.other, task.mask)
        self._rewind(asking, task.round)
        config, strategy = self.configs.at(task.round), copy.deepcopy(self.strategy)
        messages = self._ordinary(asking, strategy, task.weights, task.round, config, task.work)
        if task.who is not None:
            content = messages[0].content
            messages = [Message(content, self.nodes.of[client], "train") for client in task.who]
        replies = self._train(asking, messages, task.round)
        return self._updates(asking, task.weights, messages, replies)

    def rounds(
        self, asking: ScopedClients, weights: Vector, first: int, last: int, work: LocalWork
    ) -> Iterator[tuple[Updates, Vector]]:
        """Run ordinary rounds of the wrapped strategy; see `strategy.Clients.rounds`."""
        require_able(self.configs, work)
        self._rewind(asking, first)
        strategy, config = self._continued(asking, weights, first, work)
        for number in range(first, last + 1):
            self.configs.note(number, config)
            messages = self._ordinary(asking, strategy, weights, number, config, work)
            replies = self._train(asking, messages, number)
            # Recorded first: some strategies take the arrays out of the replies.
            updates = self._updates(asking, weights, messages, replies)
            after = weights
            if replies:
                received = [reply.message for reply in replies.values()]
                arrays, metrics = strategy.aggregate_train(number, received)
                if metrics is not None:
                    forget_identity(metrics)
                    self.heard(metrics)
                if arrays is not None:
                    after = self.models.keep(arrays)
                    self._compare(updates, after - weights)
            self.configs.note(number + 1, config)
            self.latest = Stretch(strategy, config, number, after, asking.ids, work)
            if self.repeats:
                self.nodes.require_rewinding()
            yield updates, after
            weights = after

    def query(self, asking: ScopedClients, task: QueryTask) -> NoReturn:
        """Raise: a plain app answers no such question."""
        refuse_query()

    def evaluate(self, present: Set[ClientId], messages: Sequence[Message]) -> list[Message]:
        """Send messages that evaluate a model, one a client; return the good replies."""
        wanted = Wanted(examples=False, weights=self._weights, same_metrics=bool(self._weights))
        replies = self.nodes.ask(messages, present, wanted)
        return [reply.message for reply in replies.values()]

    def _train(
        self, asking: ScopedClients, messages: Sequence[Message], round: int
    ) -> dict[ClientId, Reply]:
        """Send messages to train, one a client; a good reply holds such arrays as were sent."""
        sent = [record for m in messages[:1] for record in m.content.array_records.values()]
        forms = (
            {
                name: Form(tuple(array.shape), array.dtype, str(self.models.kinds[name]))
                for name, array in sent[0].items()
            }
            if sent
            else {}
        )
        by, constants = self._weights, self.models.layout.constants
        wanted = Wanted(forms, weights=by, unchanged=constants, same_metrics=bool(by))
        diverged = f"If training diverged: {_moment(asking, round)}; {ADVICE}."
        return self.nodes.ask(messages, asking.ids, wanted, diverged)

    @property
    def _weights(self) -> tuple[str, ...]:
        """The metric by which a strategy of Flower's own weighs clients; empty for any other."""
        key = getattr(self.strategy, "weighted_by_key", None)
        return () if key is None else (key,)

    def _ordinary(
        self,
        asking: ScopedClients,
        strategy: Strategy,
        weights: Vector,
        number: int,
        config: ConfigRecord,
        work: LocalWork,
    ) -> list[Message]:
        """Let the strategy write the messages of a round; it writes into ``config`` as well."""
        if not weights.isfinite().all():
            raise Refused(
                f"Training diverged before {_moment(asking, number)}: the global model is not "
                f"finite. What {type(strategy).__name__} or the method made of the clients' models "
                f"made it so; {ADVICE}, or the strategy's."
            )
        if work != self.work:
            config[EPOCHS] = work.epochs
        if self.rewinds and self.nodes.rewinding:
            config[REWINDS] = list(self.rewinds)
        grid = self.nodes.present(asking.ids)
        return list(strategy.configure_train(number, self.models.pack(weights), config, grid))

    def _continued(
        self, asking: ScopedClients, weights: Vector, first: int, work: LocalWork
    ) -> tuple[Strategy, ConfigRecord]:
        """Return the strategy and the config of the rounds that end where these begin, or new ones.

        Rounds with the same clients are one stretch, whoever counts them: training goes on after
        retraining as it would have gone on.
        """
        before = self.latest
        if (
            before is not None
            and (before.round, before.clients, before.work) == (first - 1, asking.ids, work)
            and torch.equal(before.weights, weights)
        ):
            return before.strategy, before.config
        return copy.deepcopy(self.strategy), self.configs.at(first)

    def _rewind(self, asking: ScopedClients, first: int) -> None:
        """Note that rounds are run again; clients who keep state go back to what it was then."""
        if asking.ledger.moment.phase == "unlearn":
            self.rewinds.append(first)

    def _compare(self, updates: Updates, step: Vector) -> None:
        """Warn once where the strategy does not move the model by the clients' weighted mean."""
        if not self.replaying or self.nodes.warned or not updates.clients:
            return
        expected = mean(updates.deltas, updates.examples)
        allowed = UNLIKE * expected.norm() + ROUNDING * self.models.first.norm()
        if (step - expected).norm() > allowed:
            self.nodes.warned.append(self.replaying)
            logger.warning(
                "%s does not move the model by the clients' mean, weighted by num-examples, and "
                "the equations of %s replay such means: what it makes is no model of %s.",
                *(type(self.strategy).__name__, self.replaying, type(self.strategy).__name__),
            )

    def _updates(
        self,
        asking: ScopedClients,
        weights: Vector,
        messages: Sequence[Message],
        replies: Mapping[ClientId, Reply],
    ) -> Updates:
        """Charge every exchange to the ledger and return what the clients learnt."""
        sent = {message.metadata.dst_node_id: message for message in messages}
        locals_ = weights.new_empty(len(replies), len(weights))
        for row, (client, reply) in enumerate(replies.items()):
            locals_[row] = self.models.layout.flatten(reply.arrays)
            message = sent[self.nodes.of[client]]
            asking.ledger.charge(
                client,
                down=_bytes(message),
                up=reply.nbytes,
                samples=reply.examples * _epochs(message),
                seconds=reply.seconds,
                records=reply.examples,
            )
        examples = torch.tensor([reply.examples for reply in replies.values()], dtype=torch.int64)
        return Updates(tuple(replies), locals_ - weights, examples)


def _bytes(message: Message) -> int:
    return sum(payload(arrays) for arrays in message.content.array_records.values())


def _moment(asking: ScopedClients, round: int) -> str:
    """Return in which round of what clients are asked, in words."""
    now = asking.ledger.moment
    serving = f" of {now.phase}ing after request {now.request}" if now.phase != "train" else ""
    return f"round {round}{serving}"


def _epochs(message: Message) -> int:
    """Return how many epochs a message asks for; 1 where it does not say."""
    configs = message.content.config_records.values()
    return next((cast(int, config[EPOCHS]) for config in configs if EPOCHS in config), 1)
