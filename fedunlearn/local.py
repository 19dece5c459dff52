"""What one client does in a round: `LocalWork`, and the one SGD loop that carries it out."""

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.layout import Vector
from fedunlearn.models import Network
from fedunlearn.objectives import CrossEntropy, Objective


class LocalOptimizer(Protocol):
    """Makes a fresh torch optimizer for one client's round; nothing is carried over."""

    @property
    def lr(self) -> float:
        """Learning rate of round 1."""

    def build(self, weights: Tensor, lr: float) -> torch.optim.Optimizer:
        """Return an optimizer of the flat leaf ``weights`` with learning rate ``lr``."""


@dataclass(frozen=True, slots=True)
class Sgd:
    """Stochastic gradient descent with momentum, from momentum zero in every round."""

    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.number("optimizer.lr", self.lr, above=0)
        checks.number("optimizer.momentum", self.momentum, at_least=0, at_most=1)
        checks.number("optimizer.weight_decay", self.weight_decay, at_least=0)

    def build(self, weights: Tensor, lr: float) -> torch.optim.Optimizer:
        """Return the torch optimizer."""
        return torch.optim.SGD(
            [weights],
            lr,
            self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=True,
        )


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam with decoupled weight decay (AdamW), from fresh moments in every round."""

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.number("optimizer.lr", self.lr, above=0)
        for name in ("beta1", "beta2"):
            checks.number(f"optimizer.{name}", getattr(self, name), at_least=0, at_most=1)
        checks.number("optimizer.weight_decay", self.weight_decay, at_least=0)

    def build(self, weights: Tensor, lr: float) -> torch.optim.Optimizer:
        """Return the torch optimizer."""
        betas = (self.beta1, self.beta2)
        return torch.optim.AdamW([weights], lr, betas, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True, slots=True)
class LocalWork:
    """What a client is asked to do with its records in one round."""

    epochs: int = 5
    batch_size: int = 32
    """Records a step; the last batch of an epoch may be smaller."""
    lr_decay: float = 1.0
    """The learning rate of round t is ``lr * lr_decay ** (t - 1)``."""
    clip_norm: float | None = None
    """Longest gradient of a step, in the Euclidean norm; None leaves gradients alone."""
    optimizer: LocalOptimizer = field(default_factory=Sgd)
    objective: Objective = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.whole("work.epochs", self.epochs)
        checks.whole("work.batch_size", self.batch_size)
        checks.number("work.lr_decay", self.lr_decay, above=0, at_most=1)
        if self.clip_norm is not None:
            checks.number("work.clip_norm", self.clip_norm, above=0)

    def lr(self, round: int) -> float:
        """Return the learning rate of training round ``round``, counted from 1."""
        return self.optimizer.lr * self.lr_decay ** (round - 1)

    def scaled(self, effort: float) -> "LocalWork":
        """Return the same work with ``ceil(effort * epochs)`` epochs."""
        return replace(self, epochs=math.ceil(effort * self.epochs))

    def order(self, records: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw the record numbers of all epochs, each epoch shuffled anew, [epochs * records]."""
        return np.concatenate([rng.permutation(records) for _ in range(self.epochs)])

    def sizes(self, records: int) -> list[int]:
        """Return the records of each step; they take those of `order` one after another."""
        full, rest = divmod(records, self.batch_size)
        return ([self.batch_size] * full + [rest] * (rest > 0)) * self.epochs


def train_locally(
    network: Network,
    start: Vector,
    images: Tensor,
    labels: Tensor,
    work: LocalWork,
    round: int,
    rng: np.random.Generator,
) -> Vector:
    """Train from ``start`` [d] on one client's records and return its weights [d].

    ``images`` is [n, c, h, w], ``labels`` [n] (or what the objective takes in their place);
    ``round`` sets the learning rate, ``rng`` the order of the records. Buffers stay as they came.
    """
    parameters = network.layout.parameters
    leaf = start[parameters].clone().requires_grad_()
    buffers = start[parameters.stop :]
    optimizer = work.optimizer.build(leaf, work.lr(round))
    order = torch.from_numpy(work.order(len(labels), rng)).to(labels.device)
    for rows in torch.split(order, work.sizes(len(labels))):
        weights = torch.cat([leaf, buffers]) if len(buffers) else leaf
        seen = images.index_select(0, rows), labels.index_select(0, rows)
        losses = work.objective(network, weights, *seen, start)
        (leaf.grad,) = torch.autograd.grad(losses.mean(), leaf)
        if work.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(leaf, work.clip_norm)
        optimizer.step()
    return torch.cat([leaf.detach(), buffers])
