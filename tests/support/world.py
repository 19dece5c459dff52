"""The world of closed forms: client i has loss |w - t_i|^2 / 2.

Full-batch gradient descent with rate r for E epochs ends at t_i + (1 - r)^E (w - t_i), so every
round is affine and all of federated learning and unlearning can be written down. It runs through
the real stack: data set, federation, ClientApp, Grid and Clients.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from fedunlearn.data import Dataset, Digits, NoPlanting, Records, Scenario, build_federation
from fedunlearn.flower import InProcessGrid, build_client_app, handshake
from fedunlearn.flower import client_app as client_app_module
from fedunlearn.history import History, Needs
from fedunlearn.local import CrossEntropy, LocalWork, Sgd
from fedunlearn.unlearning import Access, FederationState, Training, train
from tests.support.grid_clients import scenario_clients

D = 6
RATE = 0.1


class _Offset(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.zeros(2))
        self.second = nn.Parameter(torch.zeros(D - 2))

    def forward(self, images):
        return torch.cat([self.first, self.second]) - images.flatten(1)


class Scaled(nn.Module):
    """A linear net with a buffer, for images of 64 pixels."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.full((64,), 2.0))
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        return self.layer(images.flatten(1) * self.scale)


@dataclass(frozen=True)
class Offset:
    def __call__(self, shape, classes):
        return _Offset()


@dataclass(frozen=True)
class HalfSquare:
    def __call__(self, network, weights, images, labels, sent):
        return network(weights, images).square().sum(dim=1) / 2


@dataclass(frozen=True)
class Targets:
    """Client i's records are copies of a random target; record n says whose it is by its label."""

    sizes: tuple[int, ...]

    def load(self):
        rng = np.random.default_rng(7)
        targets = torch.tensor(rng.normal(size=(len(self.sizes), 1, 1, D)), dtype=torch.float32)
        owners = torch.tensor([i for i, size in enumerate(self.sizes) for _ in range(size)])
        records = Records(targets[owners], owners)
        classes = tuple(map(str, range(max(D, len(self.sizes)))))
        return Dataset(records, records.take(torch.arange(2)), classes)


@dataclass(frozen=True)
class FewDigits:
    """Some of scikit-learn's digits: what the search for leavers takes grows with their records."""

    records: int = 240
    tests: int = 80

    def load(self):
        every = Digits().load()
        return Dataset(
            every.train.take(torch.arange(self.records)),
            every.test.take(torch.arange(self.tests)),
            every.classes,
        )


@dataclass(frozen=True)
class ByLabel:
    clients: int
    minimum: int = 1

    def __call__(self, labels, rng):
        return tuple(np.flatnonzero(labels == client) for client in range(self.clients))


@dataclass(frozen=True)
class ReversedByLabel:
    clients: int
    minimum: int = 1

    def __call__(self, labels, rng):
        return ByLabel(self.clients)(labels, rng)[::-1]


WORK = LocalWork(
    epochs=3, batch_size=1000, optimizer=Sgd(lr=RATE, momentum=0), objective=HalfSquare()
)


@dataclass(frozen=True)
class World:
    """Some clients and a training; ``with world.open() as clients`` runs it."""

    sizes: tuple[int, ...] = (10, 20, 30, 40)
    training: Training = field(default_factory=lambda: Training(rounds=6, work=WORK))
    seed: int = 3
    workers: int = 2

    @property
    def scenario(self):
        count = len(self.sizes)
        return Scenario(
            Targets(self.sizes), ByLabel(count), NoPlanting(), Offset(), (), self.seed, 0.1, 0.0
        )

    @property
    def here(self):
        return build_federation(self.scenario)

    def clients(self, connection, ledger=None):
        """All clients behind a connection."""
        return scenario_clients(connection, self.training, self.scenario, ledger, self.proxy_images)

    @contextmanager
    def open(self, ledger=None):
        count = len(self.sizes)
        grid = InProcessGrid(build_client_app(self.scenario), count, self.workers)
        try:
            yield self.clients(handshake(grid, count), ledger)
        finally:
            grid.close()

    @property
    def proxy_images(self):
        return torch.linspace(-1, 1, 8 * D).view(8, 1, 1, D)

    @property
    def start(self):
        initial = torch.linspace(1, 2, D)
        history = History(self.here.network.layout, initial, initial)
        return FederationState(history, frozenset(range(len(self.sizes))))

    def trained(self, clients, needs=Needs(updates=True, models=True)):
        """Train to the end and return the course."""
        return finish(train(self.start, clients, self.training.rounds, needs))

    def formula(self, ids, rounds, weights=None, epochs=None):
        """FedAvg over ``ids`` in closed form, from ``weights``."""
        weights = self.start.history.initial if weights is None else weights
        shrink = (1 - RATE) ** (epochs or self.training.work.epochs)
        sizes = torch.tensor([len(self.here.train[i]) for i in sorted(ids)], dtype=torch.float64)
        targets = torch.stack([self.here.train[i].inputs[0].flatten() for i in sorted(ids)])
        centre = (sizes / sizes.sum()) @ targets.double()
        for _ in range(rounds):
            weights = centre + shrink * (weights.double() - centre)
        return weights.float()


def finish(steps):
    """Exhaust a generator and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def without_leavers(clients, leavers, needs=Needs(remaining=True)):
    """Scope clients as the driver does when ``leavers`` ask to be forgotten."""
    leavers = frozenset(leavers)
    return clients.scoped(Access(clients.ids - leavers, needs, leavers))


def break_client(monkeypatch, world, client):
    """From now on, let one client fail whenever it is asked to train."""
    real, bad = client_app_module.train_locally, world.here.train[client].inputs.data_ptr()

    def train_locally(network, start, images, *rest):
        if images.data_ptr() == bad:
            raise OSError("disk on fire")
        return real(network, start, images, *rest)

    monkeypatch.setattr(client_app_module, "train_locally", train_locally)


@dataclass(frozen=True)
class Fragile:
    """Cross-entropy that fails on a batch which is not full."""

    def __call__(self, network, weights, images, labels, sent):
        if len(labels) < 32:
            raise OSError("odd batch")
        return CrossEntropy()(network, weights, images, labels, sent)
