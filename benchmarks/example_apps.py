"""Apps in the shape of Flower's examples, with scikit-learn's digits for data.

Each holds what its model shows: named float32 tensors, unnamed float64 arrays, a rate that the
strategy halves, a strategy with a loop of its own, clients that keep a part of the model.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result, Strategy
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from fedunlearn.flower import rewinding

CLIENTS = 5
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ExampleApp:
    """A client app and what its server begins with."""

    client: Callable[[], ClientApp]
    strategy: Callable[[], Strategy]
    arrays: Callable[[], ArrayRecord]
    config: ConfigRecord


@lru_cache
def shards() -> list[tuple[Floats, Floats]]:
    """Return each client's images [n, 64] and labels [n]."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order] / 16, labels[order]
    return [(images[i::CLIENTS], labels[i::CLIENTS]) for i in range(CLIENTS)]


def told(context: Context, examples: int, **metrics: float) -> MetricRecord:
    """Return the metrics of a reply, who the client is among them."""
    who = int(str(context.node_config["partition-id"]))
    return MetricRecord({"num-examples": examples, "partition-id": who, **metrics})


def answered(message: Message, metrics: MetricRecord, arrays: ArrayRecord | None = None) -> Message:
    """Return a reply."""
    content = {"metrics": metrics} if arrays is None else {"arrays": arrays, "metrics": metrics}
    return Message(RecordDict(content), reply_to=message)


def own_shard(context: Context) -> tuple[Floats, Floats]:
    """Return the records of the client whose turn it is."""
    return shards()[int(str(context.node_config["partition-id"]))]


class Convolutional(nn.Module):
    """A small net for 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 8, 3), nn.Linear(288, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [n, 10]."""
        return self.last(functional.relu(self.conv(images)).flatten(1))


def torch_client(keeps_head: bool = False) -> ClientApp:
    """Return clients that train a net; some keep their last layer to themselves."""
    app = ClientApp(mods=[rewinding] if keeps_head else [])

    def prepared(message: Message, context: Context) -> tuple[Convolutional, Any, Any]:
        net = Convolutional()
        net.load_state_dict(message.content["arrays"].to_torch_state_dict())
        if keeps_head and "head" in context.state:
            net.last.load_state_dict(context.state["head"].to_torch_state_dict())
        images, labels = own_shard(context)
        pictures = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)
        return net, pictures, torch.tensor(labels)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        net, images, labels = prepared(message, context)
        config = message.content["config"]
        optimizer = torch.optim.SGD(net.parameters(), lr=config["lr"])
        order = torch.Generator().manual_seed(config["server-round"])
        loss = torch.zeros(())
        for batch in torch.randperm(len(labels), generator=order).split(32):
            optimizer.zero_grad()
            loss = functional.cross_entropy(net(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        if keeps_head:
            context.state["head"] = ArrayRecord(net.last.state_dict())
        metrics = told(context, len(labels), train_loss=float(loss))
        return answered(message, metrics, ArrayRecord(net.state_dict()))

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        net, images, labels = prepared(message, context)
        loss = float(functional.cross_entropy(net(images), labels))
        return answered(message, told(context, len(labels), loss=loss))

    return app


def first_net() -> ArrayRecord:
    """Return the first weights of the net."""
    torch.manual_seed(0)
    return ArrayRecord(Convolutional().state_dict())


def sklearn_client() -> ClientApp:
    """Return clients that fit a logistic regression, a few iterations a round."""
    app = ClientApp()

    def model(message: Message) -> LogisticRegression:
        fitted = LogisticRegression(max_iter=2, warm_start=True)
        fitted.classes_ = np.arange(10)
        fitted.coef_, fitted.intercept_ = message.content["arrays"].to_numpy_ndarrays()
        return fitted

    @app.train()
    def train(message: Message, context: Context) -> Message:
        images, labels = own_shard(context)
        fitted = model(message).fit(images, labels)
        arrays = ArrayRecord([fitted.coef_, fitted.intercept_])
        return answered(message, told(context, len(labels)), arrays)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        images, labels = own_shard(context)
        accuracy = float(model(message).score(images, labels))
        return answered(message, told(context, len(labels), accuracy=accuracy))

    return app


def numpy_client() -> ClientApp:
    """Return clients without a framework: a step of least squares, in float64."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        (weights,) = message.content["arrays"].to_numpy_ndarrays()
        images, labels = own_shard(context)
        wrong = images @ weights - np.eye(10)[labels]
        learnt = weights - 0.01 * images.T @ wrong / len(labels)
        return answered(message, told(context, len(labels)), ArrayRecord([learnt]))

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        (weights,) = message.content["arrays"].to_numpy_ndarrays()
        images, labels = own_shard(context)
        right = float((np.argmax(images @ weights, 1) == labels).mean())
        return answered(message, told(context, len(labels), accuracy=right))

    return app


class Advanced(FedAvg):
    """Halves the rate in the config it is given, and loops by itself to remember the best model."""

    best: float | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Halve the rate every second round."""
        if server_round % 2 == 0:
            config["lr"] *= 0.5  # type: ignore[operator]
        return super().configure_train(server_round, arrays, config, grid)

    def start(self, grid: Grid, initial_arrays: ArrayRecord, **asked: Any) -> Result:
        """Loop over rounds, and remember the least loss."""
        rounds, result, arrays = asked["num_rounds"], Result(), initial_arrays
        train_config = asked.get("train_config") or ConfigRecord()
        told_to = asked.get("evaluate_config") or ConfigRecord()
        for number in range(1, rounds + 1):
            sent = self.configure_train(number, arrays, train_config, grid)
            found, metrics = self.aggregate_train(number, grid.send_and_receive(sent))
            arrays = arrays if found is None else found
            if metrics is not None:
                result.train_metrics_clientapp[number] = metrics
            sent = self.configure_evaluate(number, arrays, told_to, grid)
            evaluated = self.aggregate_evaluate(number, grid.send_and_receive(sent))
            if evaluated is not None:
                loss = float(evaluated["loss"])  # type: ignore[arg-type]
                self.best = loss if self.best is None else min(self.best, loss)
        result.arrays = arrays
        return result


class Normalised(FedAvg):
    """A baseline's strategy: steps of the server, with momentum, along the mean's direction."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, Any] = {}
        self.momentum: dict[str, Any] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember what is sent."""
        self.sent = {name: array.numpy() for name, array in arrays.items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Go on along the momentum."""
        mean, metrics = super().aggregate_train(server_round, replies)
        if mean is None:
            return None, metrics
        made = ArrayRecord()
        for name, array in mean.items():
            step = array.numpy() - self.sent[name]
            self.momentum[name] = 0.5 * self.momentum.get(name, 0) + step
            made[name] = Array(np.asarray(self.sent[name] + self.momentum[name]))
        return made, metrics


def zeros(*shapes: tuple[int, ...]) -> Callable[[], ArrayRecord]:
    """Return what makes unnamed arrays of zeros."""
    return lambda: ArrayRecord([np.zeros(shape) for shape in shapes])


RATE = ConfigRecord({"lr": 0.1})
APPS = {
    "PyTorch quickstart": ExampleApp(torch_client, FedAvg, first_net, RATE),
    "advanced PyTorch": ExampleApp(lambda: torch_client(True), Advanced, first_net, RATE),
    "scikit-learn": ExampleApp(sklearn_client, FedAvg, zeros((10, 64), (10,)), ConfigRecord()),
    "numpy": ExampleApp(numpy_client, FedAvg, zeros((64, 10)), ConfigRecord()),
    "a baseline with a strategy of its own": ExampleApp(torch_client, Normalised, first_net, RATE),
}
