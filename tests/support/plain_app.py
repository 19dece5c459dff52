"""A Flower app that knows nothing of fedunlearn, in a world with closed forms.

Client i moves the fraction 1 - (1 - r)^E of the way to its target in E epochs, as in world.py.
"""

from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedunlearn.flower import InProcessGrid

RATE = 0.1
EPOCHS = 4
CLIENTS = 5
SIZES = np.array([10, 20, 30, 40, 50])
TARGETS = np.random.default_rng(7).normal(size=(CLIENTS, 6)).astype(np.float32)
INITIAL = np.linspace(1, 2, 6).astype(np.float32)
EVERYBODY = set(range(CLIENTS))


def arrays(vector):
    named = {"body.weight": vector[:4].reshape(2, 2), "head.bias": vector[4:]}
    return ArrayRecord({name: Array(np.array(part)) for name, part in named.items()})


def vector(record):
    return np.concatenate([array.numpy().ravel() for array in record.values()])


@dataclass
class App:
    """A plain Flower app, and a diary of the messages that its clients got."""

    introduces: str = "train"
    broken: int | None = None
    double: bool = False
    seen: list = field(default_factory=list)

    def build(self):
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            client, config = self.note("train", message, context)
            if client == self.broken:
                raise OSError("disk on fire")
            shrink = (1 - RATE) ** config.get("local-epochs", EPOCHS)
            start = vector(message.content["arrays"])
            local = TARGETS[client] + np.float32(shrink) * (start - TARGETS[client])
            metrics = {"num-examples": int(SIZES[client]), "loss": float(client)}
            if self.introduces == "train":
                metrics["partition-id"] = self.said(client)
            content = {"arrays": arrays(local), "metrics": MetricRecord(metrics)}
            return Message(RecordDict(content), reply_to=message)

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            client, _ = self.note("evaluate", message, context)
            loss = float(np.square(vector(message.content["arrays"]) - TARGETS[client]).sum())
            metrics = MetricRecord({"num-examples": int(SIZES[client]), "loss": loss})
            return Message(RecordDict({"metrics": metrics}), reply_to=message)

        if self.introduces == "query":

            @app.query()
            def who(message: Message, context: Context) -> Message:
                client = self.said(context.node_config["partition-id"])
                metrics = MetricRecord({"partition-id": client})
                return Message(RecordDict({"metrics": metrics}), reply_to=message)

        return app

    def said(self, client):
        return 0 if self.double and client == 1 else client

    def note(self, kind, message, context):
        client, config = context.node_config["partition-id"], message.content["config"]
        self.seen.append((kind, client, dict(config)))
        return client, config

    def run(self, strategy, rounds=3, **kwargs):
        # Clients in threads would decode arrays with numpy side by side, whose header parser (ast)
        # is not safe for that before Python 3.11.9: "AST constructor recursion depth mismatch".
        grid = InProcessGrid(self.build(), CLIENTS, workers=1)
        try:
            return strategy.start(grid, arrays(INITIAL), rounds, **kwargs)
        finally:
            grid.close()

    def asked(self, kind):
        return [(client, config["server-round"]) for k, client, config in self.seen if k == kind]


def formula(who, rounds, start=INITIAL, epochs=EPOCHS):
    """FedAvg among ``who`` in closed form."""
    rows = sorted(who)
    centre = SIZES[rows] / SIZES[rows].sum() @ TARGETS[rows].astype(float)
    return centre + (1 - RATE) ** (epochs * rounds) * (start - centre)


def close(found, wanted):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-5, atol=1e-6)
