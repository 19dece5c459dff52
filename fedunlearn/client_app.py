"""The Flower ClientApp: unpack the message, train, pack the reply.

Messages, all with plain arrays and scalars:

- ``query``: the reply's ``metrics`` hold ``partition-id``, which Flower tells clients only.
- ``train``: ``arrays/weights`` [d] and a ``config`` of ``work`` (JSON), ``round``, ``seed`` and
  ``stream``; the reply holds ``arrays/weights`` [d] after training and ``metrics`` with
  ``num-examples``, ``samples`` (records processed) and ``seconds``.
"""

import time

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from fedunlearn.federation import Scenario, federation
from fedunlearn.layout import Vector
from fedunlearn.local import LocalWork, train_locally
from fedunlearn.wire import decode


def pack(weights: Vector) -> ArrayRecord:
    """Put a model [d] into an ArrayRecord."""
    return ArrayRecord({"weights": Array(weights.numpy())})


def unpack(content: RecordDict) -> Tensor:
    """Take the model [d] out of a message."""
    return torch.from_numpy(content.array_records["arrays"]["weights"].numpy())


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
        client = int(context.node_config["partition-id"])
        here = federation(scenario)
        records = here.train[client]
        config = message.content.config_records["config"]
        work = decode(str(config["work"]))
        assert isinstance(work, LocalWork)
        number = int(str(config["round"]))
        seeds = [int(str(config[name])) for name in ("seed", "stream", "round")]
        weights = train_locally(
            here.network,
            unpack(message.content),
            records.images,
            records.labels,
            work,
            number,
            np.random.default_rng([*seeds, client]),
        )
        metrics = MetricRecord(
            {
                "num-examples": len(records),
                "samples": len(records) * work.epochs,
                "seconds": time.perf_counter() - started,
            }
        )
        return Message(RecordDict({"arrays": pack(weights), "metrics": metrics}), reply_to=message)

    return app
