"""Clients whose Flower app knows nothing of unlearning: all they get is plain ``train`` messages.

A message is what the wrapped Flower strategy would send, and a reply what it expects: one
ArrayRecord of named float arrays and one MetricRecord with ``num-examples``.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import Strategy

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower.arrays import payload
from fedunlearn.flower.identity import IDENTITY
from fedunlearn.flower.plain_nodes import PlainNodes
from fedunlearn.flower.replies import Form, Reply, Wanted
from fedunlearn.history import Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Layout, Vector
from fedunlearn.unlearning import ScopedClients, TrainingTask

EPOCHS = "local-epochs"
"""The key of ``train_config`` that says how many epochs a client trains."""

ADVICE = "lower the learning rate of the app, or clip its gradients"


@dataclass(frozen=True)
class PlainChannel:
    """Plain clients behind a Flower Grid (see `Channel`).

    Ordinary rounds are those of ``strategy``: it chooses whom to ask and aggregates, from a copy
    that no earlier round has touched.
    """

    nodes: PlainNodes
    strategy: Strategy
    layout: Layout
    kinds: Mapping[str, np.dtype[Any]]
    """The names of all arrays in their order, and the types that the app gave them."""
    config: ConfigRecord
    """What the user sends with every training message."""
    heard: Callable[[MetricRecord], None]
    """Gets the aggregated training metrics of every ordinary round."""

    @property
    def work(self) -> LocalWork:
        """The app's local training: of it, only the number of epochs is known and can be asked."""
        return LocalWork(epochs=cast(int, self.config.get(EPOCHS, 1)))

    @property
    def proxy(self) -> NoReturn:
        """Raise: there are no records on the server."""
        raise PermissionError("A plain Flower app has no proxy data on the server.")

    def train(self, asking: ScopedClients, task: TrainingTask) -> Updates:
        """Let clients train; see `strategy.Clients.train`.

        Raises `Refused` for work that a message to plain clients cannot describe.
        """
        if task.other is not None:
            raise Refused("A plain Flower app takes one model a message; choose another method.")
        epochs = self._epochs(task.work)
        strategy = copy.deepcopy(self.strategy)
        messages = self._ordinary(asking, strategy, task.weights, task.round, epochs)
        if task.who is not None:
            content = messages[0].content
            messages = [Message(content, self.nodes.of[client], "train") for client in task.who]
        replies = self._train(asking, messages, task.round)
        return self._updates(asking, task.weights, messages, replies, epochs)

    def rounds(
        self, asking: ScopedClients, weights: Vector, first: int, last: int, work: LocalWork
    ) -> Iterator[tuple[Updates, Vector]]:
        """Run ordinary rounds of the wrapped strategy; see `strategy.Clients.rounds`."""
        strategy = copy.deepcopy(self.strategy)
        epochs = self._epochs(work)
        for number in range(first, last + 1):
            messages = self._ordinary(asking, strategy, weights, number, epochs)
            replies = self._train(asking, messages, number)
            # Recorded first: some strategies take the arrays out of the replies.
            updates = self._updates(asking, weights, messages, replies, epochs)
            if not replies:
                yield updates, weights
                continue
            received = [reply.message for reply in replies.values()]
            arrays, metrics = strategy.aggregate_train(number, received)
            if metrics is not None:
                metrics.pop(IDENTITY, None)
                self.heard(metrics)
            weights = weights if arrays is None else self.flatten(arrays)
            yield updates, weights

    def statistics(self, asking: ScopedClients, weights: Vector) -> NoReturn:
        """Raise: a plain app answers no such question."""
        raise Refused(
            "The method needs sums over each client's records, for which a plain Flower app cannot "
            "be asked. Choose another method."
        )

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
            {name: Form(tuple(array.shape), array.dtype) for name, array in sent[0].items()}
            if sent
            else {}
        )
        wanted = Wanted(
            forms,
            weights=self._weights,
            unchanged=self.layout.constants,
            same_metrics=bool(self._weights),
        )
        diverged = f"If training diverged: {_moment(asking, round)}; {ADVICE}."
        return self.nodes.ask(messages, asking.ids, wanted, diverged)

    @property
    def _weights(self) -> tuple[str, ...]:
        """The metric by which a strategy of Flower's own weighs clients; empty for any other."""
        key = getattr(self.strategy, "weighted_by_key", None)
        return () if key is None else (key,)

    def pack(self, weights: Vector) -> ArrayRecord:
        """Return a model [d] as named arrays, each of the type in which the app began with it."""
        named = {**self.layout.named(weights), **self.layout.constants}
        return ArrayRecord(
            {name: Array(named[name].numpy().astype(kind)) for name, kind in self.kinds.items()}
        )

    def flatten(self, arrays: ArrayRecord) -> Vector:
        """Copy named arrays into a vector [d] of float32."""
        return self.layout.flatten(tensors(arrays)).float()

    def _epochs(self, work: LocalWork) -> int:
        if replace(work, epochs=self.work.epochs) != self.work:
            raise Refused(
                "The method asks clients for other work than more or fewer epochs, which a plain "
                "Flower app cannot do. Choose another method."
            )
        if work != self.work and EPOCHS not in self.config:
            raise Refused(
                f"The method asks for {work.epochs} local epochs. Name the epochs of your app as "
                f"{EPOCHS} in train_config, and let its train function obey them."
            )
        return work.epochs

    def _ordinary(
        self,
        asking: ScopedClients,
        strategy: Strategy,
        weights: Vector,
        number: int,
        epochs: int,
    ) -> list[Message]:
        if not weights.isfinite().all():
            raise Refused(
                f"Training diverged before {_moment(asking, number)}: the global model is not "
                f"finite. What {type(strategy).__name__} or the method made of the clients' models "
                f"made it so; {ADVICE}, or the strategy's."
            )
        config = ConfigRecord(dict(self.config))  # a copy: strategies write into it
        if EPOCHS in config:
            config[EPOCHS] = epochs
        grid = self.nodes.present(asking.ids)
        return list(strategy.configure_train(number, self.pack(weights), config, grid))

    def _updates(
        self,
        asking: ScopedClients,
        weights: Vector,
        messages: Sequence[Message],
        replies: Mapping[ClientId, Reply],
        epochs: int,
    ) -> Updates:
        """Charge every exchange to the ledger and return what the clients learnt."""
        sent = {message.metadata.dst_node_id: message for message in messages}
        locals_ = weights.new_empty(len(replies), len(weights))
        for row, (client, reply) in enumerate(replies.items()):
            locals_[row] = self.layout.flatten(reply.arrays)
            asking.ledger.charge(
                client,
                down=_bytes(sent[self.nodes.of[client]]),
                up=reply.nbytes,
                samples=reply.examples * epochs,
                seconds=reply.seconds,
            )
        examples = torch.tensor([reply.examples for reply in replies.values()], dtype=torch.int64)
        return Updates(tuple(replies), locals_ - weights, examples)


def tensors(arrays: ArrayRecord) -> dict[str, torch.Tensor]:
    """Return named arrays as tensors; raise `Refused` for those that hold no numbers."""
    named: dict[str, torch.Tensor] = {}
    for name, array in arrays.items():
        try:
            named[name] = torch.from_numpy(array.numpy())
        except (TypeError, ValueError) as error:
            raise Refused(
                f"The array {name} is {array.dtype}, which torch does not know; arrays hold "
                "floating-point numbers, integers or truth values."
            ) from error
    return named


def _bytes(message: Message) -> int:
    return sum(payload(arrays) for arrays in message.content.array_records.values())


def _moment(asking: ScopedClients, round: int) -> str:
    """Return in which round of what clients are asked, in words."""
    now = asking.ledger.moment
    serving = f" of {now.phase}ing after request {now.request}" if now.phase != "train" else ""
    return f"round {round}{serving}"
