"""The Flower ClientApp: unpack the message, train, pack the reply.

Messages, all with plain arrays and scalars:

- ``query``: the reply's ``metrics`` hold ``partition-id``, which Flower tells clients only.
- ``train``: ``arrays/weights`` [d] and a ``config`` of ``work`` (JSON), ``round``, ``seed`` and
  ``stream``; the reply holds ``arrays/weights`` [d] after training and ``metrics`` with
  ``num-examples``, ``samples`` (records processed) and ``seconds``.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedunlearn.arrays import pack, unpack
from fedunlearn.cohort import train_cohort
from fedunlearn.data.dataset import Records
from fedunlearn.federation import Scenario, federation
from fedunlearn.history import ClientId
from fedunlearn.layout import Vector
from fedunlearn.local import LocalWork, train_locally
from fedunlearn.wire import decode


@dataclass(frozen=True, slots=True)
class Order:
    """What a ``train`` message asks for."""

    weights: Vector
    work: LocalWork
    round: int
    stream: tuple[int, int, int]
    """Seed, stream and round: with the client's number they seed its random numbers."""

    @classmethod
    def of(cls, message: Message) -> "Order":
        """Read a message."""
        config = message.content.config_records["config"]
        work = decode(str(config["work"]))
        assert isinstance(work, LocalWork)
        seed, stream, number = (int(str(config[name])) for name in ("seed", "stream", "round"))
        return cls(unpack(message.content), work, number, (seed, stream, number))

    def rng(self, client: ClientId) -> np.random.Generator:
        """Return the random numbers of one client."""
        return np.random.default_rng([*self.stream, client])


def client_app(scenario: Scenario) -> ClientApp:
    """Return the app that plays every client of ``scenario``.

    Only ``scenario`` travels to other processes; each divides the data once for itself.
    """
    app = ClientApp()

    @app.query()
    def hello(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"partition-id": int(context.node_config["partition-id"])})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        started = time.perf_counter()
        order, here = Order.of(message), federation(scenario)
        client = int(context.node_config["partition-id"])
        records = here.train[client]
        weights = train_locally(
            here.network,
            order.weights,
            records.images,
            records.labels,
            order.work,
            order.round,
            order.rng(client),
        )
        return _reply(message, weights, records, order.work, time.perf_counter() - started)

    return app


def train_together(
    scenario: Scenario, messages: Sequence[Message], clients: Sequence[ClientId]
) -> list[Message]:
    """Answer ``train`` messages of equal content for several clients as one batch.

    Each reply is the app's own, up to rounding; the time is shared out by records.
    """
    started = time.perf_counter()
    order, here = Order.of(messages[0]), federation(scenario)
    records = [here.train[client] for client in clients]
    rngs = [order.rng(client) for client in clients]
    matrix = train_cohort(here.network, order.weights, records, order.work, order.round, rngs)
    each = (time.perf_counter() - started) / sum(len(held) for held in records)
    return [
        _reply(message, weights, held, order.work, each * len(held))
        for message, weights, held in zip(messages, matrix, records, strict=True)
    ]


def _reply(
    message: Message, weights: Vector, records: Records, work: LocalWork, seconds: float
) -> Message:
    metrics = MetricRecord(
        {
            "num-examples": len(records),
            "samples": len(records) * work.epochs,
            "seconds": seconds,
        }
    )
    return Message(RecordDict({"arrays": pack(weights), "metrics": metrics}), reply_to=message)
