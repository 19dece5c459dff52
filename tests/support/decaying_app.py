"""A Flower app in numpy whose clients obey ``lr``, keep state if they like, and draw nothing."""

from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedunlearn.flower import InProcessGrid

CLIENTS = 6
TARGETS = np.random.default_rng(3).normal(size=(CLIENTS, 4))
FIRST = np.array([3.0, -1.0, 0.5, 2.0])


@dataclass
class NumpyApp:
    """Client i goes the share ``lr`` of the way to its target, and further by what it kept."""

    kind: str = "float32"
    keeping: bool = False
    spelling: str = "partition-id"
    mods: tuple = ()
    clients: int = CLIENTS
    query: bool = False
    sizes: tuple = tuple(range(10, 10 + CLIENTS))
    targets: np.ndarray = field(default_factory=lambda: TARGETS)
    seen: list = field(default_factory=list)

    def build(self):
        app = ClientApp(mods=list(self.mods))

        @app.train()
        def train(message, context):
            client, config = context.node_config["partition-id"], message.content["config"]
            self.seen.append((client, dict(config)))
            (start,) = (array.numpy() for array in message.content["arrays"].values())
            moved = config.get("lr", 0.1) * (self.targets[client] - start)
            if self.keeping:
                old = context.state["velocity"]["v"].numpy() if "velocity" in context.state else 0
                moved = moved + 0.5 * old
                context.state["velocity"] = ArrayRecord({"v": Array(moved)})
            metrics = {"num-examples": self.sizes[client], "train_loss": float(1 + client)}
            if self.spelling:
                metrics[self.spelling] = client
            learnt = ArrayRecord([(start + moved).astype(self.kind)])
            content = {"arrays": learnt, "metrics": MetricRecord(metrics)}
            return Message(RecordDict(content), reply_to=message)

        if self.query:

            @app.query()
            def who(message, context):
                told = MetricRecord({"partition-id": context.node_config["partition-id"]})
                return Message(RecordDict({"metrics": told}), reply_to=message)

        @app.evaluate()
        def evaluate(message, context):
            (model,) = (array.numpy() for array in message.content["arrays"].values())
            loss = float(np.square(model - self.targets[context.node_config["partition-id"]]).sum())
            metrics = MetricRecord({"num-examples": 1, "loss": loss})
            return Message(RecordDict({"metrics": metrics}), reply_to=message)

        return app

    def run(self, strategy, rounds=6, lr=0.1, **named):
        grid = InProcessGrid(self.build(), self.clients, workers=1)
        try:
            first = ArrayRecord([FIRST.astype(self.kind)])
            config = ConfigRecord({"lr": lr})
            return strategy.start(grid, first, rounds, train_config=config, **named)
        finally:
            grid.close()


class Halving(FedAvg):
    """The idiom of Flower's documentation: the rate is halved in the config that it is handed."""

    def configure_train(self, server_round, arrays, config, grid):
        if server_round % 3 == 0:
            config["lr"] *= 0.5
        return super().configure_train(server_round, arrays, config, grid)


def model(result):
    (array,) = result.arrays.values()
    return array.numpy()
