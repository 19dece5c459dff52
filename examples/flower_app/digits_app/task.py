"""The net, the data and the training of every client."""

from functools import lru_cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

Data = tuple[Tensor, Tensor]


class Net(nn.Module):
    """Two linear layers for 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, 10]."""
        return self.last(functional.relu(self.hidden(images)))


@lru_cache
def digits() -> Data:
    """Return images [1797, 64] from 0 to 1 and labels, in one shuffled order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (
        torch.tensor(images[order] / 16, dtype=torch.float32),
        torch.tensor(labels[order], dtype=torch.int64),
    )


TEST = 360


def load_data(partition: int, partitions: int) -> Data:
    """Return the images and the labels of one client; the first `TEST` are nobody's."""
    images, labels = digits()
    own = slice(TEST + partition, None, partitions)
    return images[own], labels[own]


def train(net: Net, data: Data, epochs: int, lr: float, seed: int) -> float:
    """Train by SGD, in an order that ``seed`` draws; return the mean loss."""
    images, labels = data
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=order).split(32):
            optimizer.zero_grad()
            loss = functional.cross_entropy(net(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def test(net: Net, data: Data) -> tuple[float, float]:
    """Return the loss and the accuracy."""
    images, labels = data
    logits = net(images)
    right = (logits.argmax(1) == labels).float().mean().item()
    return functional.cross_entropy(logits, labels).item(), right
