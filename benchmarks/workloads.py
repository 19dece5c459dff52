"""What is trained: random tensors of the right shapes, since speed does not depend on content."""

from dataclasses import dataclass

import torch

from fedunlearn.data import Dataset, Iid, NoPlanting, Records, Scenario
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.models import Build, LeNet5, McMahanCnn, Mlp, ResNet18, Shape

CLASSES = 10
SEED = 0
RATE, MOMENTUM, BATCH = 0.01, 0.9, 32
WORK = LocalWork(epochs=1, batch_size=BATCH, optimizer=Sgd(RATE, MOMENTUM))
"""What every contender's clients do in a round: one epoch of SGD."""

DIGITS, MNIST, CIFAR = (1, 8, 8), (1, 28, 28), (3, 32, 32)


@dataclass(frozen=True, slots=True)
class Noise:
    """Random images with random labels."""

    records: int
    shape: Shape

    def load(self) -> Dataset:
        """Draw the data set."""
        rng = torch.Generator().manual_seed(SEED)
        images = torch.rand(self.records, *self.shape, generator=rng)
        labels = torch.randint(CLASSES, (self.records,), generator=rng)
        train = Records(images, labels)
        return Dataset(train, train.take(torch.arange(CLASSES)), tuple(map(str, range(CLASSES))))


@dataclass(frozen=True, slots=True)
class Workload:
    """So many clients, with so many records each, who train a net."""

    net: str
    model: Build
    shape: Shape
    records: int
    """Records that each client trains on."""
    clients: int

    @property
    def name(self) -> str:
        """The net, records and clients."""
        return f"{self.net} {self.records} x {self.clients}"

    @property
    def scenario(self) -> Scenario:
        """Deal every client one record more than it trains on: the one that it must hold out."""
        data = Noise((self.records + 1) * self.clients, self.shape)
        partition = Iid(self.clients, minimum=self.records + 1)
        return Scenario(data, partition, NoPlanting(), self.model, (), SEED, heldout=1e-9, proxy=0)

    @property
    def data_bytes(self) -> int:
        """Bytes of all clients' images and labels."""
        channels, height, width = self.shape
        return (self.records + 1) * self.clients * (4 * channels * height * width + 8)


def lenet5(records: int, clients: int) -> Workload:
    """Return LeNet-5 on images of MNIST's shape."""
    return Workload("LeNet-5", LeNet5(), MNIST, records, clients)


def mlp(records: int, clients: int) -> Workload:
    """Return a net with one hidden layer, 4,810 parameters, on images of digits' shape."""
    return Workload("MLP", Mlp(), DIGITS, records, clients)


ALL = (
    mlp(60, 20),
    mlp(600, 20),
    lenet5(60, 20),
    lenet5(600, 20),
    Workload("CNN 1.66M", McMahanCnn(), MNIST, 600, 10),
    Workload("ResNet-18", ResNet18(), CIFAR, 64, 4),
)
WORKLOADS = {workload.name: workload for workload in ALL}
