"""What one client does in a round: `LocalWork`, and the one SGD loop that carries it out."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.bounds import Ball
from fedunlearn.checks import Refused
from fedunlearn.layout import Vector
from fedunlearn.models import Network
from fedunlearn.objectives import CrossEntropy, Objective
from fedunlearn.per_record import moments
from fedunlearn.vectors import lengths

State = tuple[Tensor, ...]
"""What an optimizer carries from step to step, each shaped like the weights."""


class LocalOptimizer(Protocol):
    """The step rule of a client's round; it knows one client's weights [d] as well as many [k, d].

    Torch's own optimizers compute the same, but their first step imports a compiler for seconds.
    """

    squares: ClassVar[bool]
    """Whether a step is told the squared gradients of single records, which cost more."""

    @property
    def lr(self) -> float:
        """Learning rate of round 1."""

    def start(self, weights: Tensor) -> State:
        """Return the state before the first step of a round; nothing is carried over."""

    def step(
        self,
        weights: Tensor,
        gradient: Tensor,
        state: State,
        lr: float,
        count: int,
        square: Tensor | None = None,
    ) -> None:
        """Change ``weights`` and ``state`` in place by step ``count``, from 1.

        ``gradient`` is the mean over the batch's records; where `squares` is set, ``square`` is
        the mean of their squared gradients, coordinate by coordinate.
        """


@dataclass(frozen=True, slots=True)
class Sgd:
    """Gradient descent with momentum: ``v <- m v + g + c w``, then ``w <- w - lr v``.

    m is ``momentum``, c ``weight_decay``; v is zero before every round. With ``nesterov`` the step
    is ``lr (g + c w + m v)``.
    """

    squares: ClassVar[bool] = False

    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.number("optimizer.lr", self.lr, above=0)
        checks.number("optimizer.momentum", self.momentum, at_least=0, at_most=1)
        checks.number("optimizer.weight_decay", self.weight_decay, at_least=0)
        if self.nesterov and not self.momentum:
            raise Refused("optimizer.nesterov=true needs optimizer.momentum above 0.")

    def start(self, weights: Tensor) -> State:
        """Return a velocity of zero, or nothing without momentum."""
        return (torch.zeros_like(weights),) if self.momentum else ()

    def step(
        self,
        weights: Tensor,
        gradient: Tensor,
        state: State,
        lr: float,
        count: int,
        square: Tensor | None = None,
    ) -> None:
        """Change ``weights`` and the velocity."""
        if self.weight_decay:
            gradient = gradient.add(weights, alpha=self.weight_decay)
        for velocity in state:
            velocity.mul_(self.momentum).add_(gradient)
            gradient = gradient.add(velocity, alpha=self.momentum) if self.nesterov else velocity
        weights.add_(gradient, alpha=-lr)


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam with decoupled weight decay (AdamW), from fresh moments in every round.

    ``m <- b1 m + (1 - b1) g``, ``v <- b2 v + (1 - b2) g^2``, then ``w <- (1 - lr c) w - lr m^ /
    (sqrt(v^) + 1e-8)`` with ``m^ = m / (1 - b1^t)``, ``v^ = v / (1 - b2^t)`` in step t.

    Kingma, Ba. Adam: a method for stochastic optimization. ICLR 2015, arXiv 1412.6980. Loshchilov,
    Hutter. Decoupled weight decay regularization. ICLR 2019, arXiv 1711.05101.
    """

    squares: ClassVar[bool] = False

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.number("optimizer.lr", self.lr, above=0)
        for name in ("beta1", "beta2"):
            checks.number(f"optimizer.{name}", getattr(self, name), at_least=0, below=1)
        checks.number("optimizer.weight_decay", self.weight_decay, at_least=0)

    def start(self, weights: Tensor) -> State:
        """Return both moments, zero."""
        return torch.zeros_like(weights), torch.zeros_like(weights)

    def step(
        self,
        weights: Tensor,
        gradient: Tensor,
        state: State,
        lr: float,
        count: int,
        square: Tensor | None = None,
    ) -> None:
        """Change ``weights`` and the moments."""
        first, second = state
        first.lerp_(gradient, 1 - self.beta1)
        second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        root = second.sqrt().div_(math.sqrt(1 - self.beta2**count)).add_(1e-8)
        weights.mul_(1 - lr * self.weight_decay)
        weights.addcdiv_(first, root, value=-lr / (1 - self.beta1**count))


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
    bound: Ball | None = None
    """How far the weights may go; None: anywhere."""
    batches: int | None = None
    """The most steps, after which the round ends in the middle of an epoch; None: all epochs."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.whole("work.epochs", self.epochs)
        checks.whole("work.batch_size", self.batch_size)
        if self.batches is not None:
            checks.whole("work.batches", self.batches)
        checks.number("work.lr_decay", self.lr_decay, above=0, at_most=1)
        if self.clip_norm is not None:
            checks.number("work.clip_norm", self.clip_norm, above=0)

    def lr(self, round: int) -> float:
        """Return the learning rate of training round ``round``, counted from 1."""
        return self.optimizer.lr * self.lr_decay ** (round - 1)

    def scaled(self, effort: float) -> "LocalWork":
        """Return the same work with ``ceil(effort * epochs)`` epochs, and as much of `batches`."""
        batches = None if self.batches is None else math.ceil(effort * self.batches)
        return replace(self, epochs=math.ceil(effort * self.epochs), batches=batches)

    def order(self, records: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw the record numbers of all epochs, each epoch shuffled anew, [`samples`]."""
        drawn = np.concatenate([rng.permutation(records) for _ in range(self.epochs)])
        return drawn[: self.samples(records)]

    def sizes(self, records: int) -> list[int]:
        """Return the records of each step; they take those of `order` one after another."""
        full, rest = divmod(records, self.batch_size)
        return (([self.batch_size] * full + [rest] * (rest > 0)) * self.epochs)[: self.batches]

    def samples(self, records: int) -> int:
        """Return how many records all steps take together, a record counted once an epoch."""
        return sum(self.sizes(records))


def train_locally(
    network: Network,
    start: Vector,
    images: Tensor,
    labels: Tensor,
    work: LocalWork,
    round: int,
    rng: np.random.Generator,
    other: Vector | None = None,
) -> Vector:
    """Train from ``start`` [d] on one client's records and return its weights [d].

    The arguments are those of `train_counted`.
    """
    return train_counted(network, start, images, labels, work, round, rng, other)[0]


def train_counted(
    network: Network,
    start: Vector,
    images: Tensor,
    labels: Tensor,
    work: LocalWork,
    round: int,
    rng: np.random.Generator,
    other: Vector | None = None,
) -> tuple[Vector, int]:
    """Train from ``start`` [d]; return a client's weights [d] and how many records it processed.

    A record counts once an epoch; where ``work.bound`` ends the work, all batches up to then do.
    ``images`` is [n, c, h, w], ``labels`` [n] (or what the objective takes in their place);
    ``round`` sets the learning rate, ``rng`` the order of the records; ``other`` [d] is a second
    model for objectives and bounds that compare with it. Buffers stay as they came.
    """
    parameters, lr = network.layout.parameters, work.lr(round)
    sent = start[None] if other is None else torch.stack([start, other])
    leaves = network.leaves(start)
    own, buffers = leaves.memory[parameters], leaves.memory[parameters.stop :]
    state = work.optimizer.start(own)
    order = torch.from_numpy(work.order(len(labels), rng)).to(labels.device)
    processed = 0
    for count, rows in enumerate(torch.split(order, work.sizes(len(labels))), start=1):
        seen, known = images.index_select(0, rows), labels.index_select(0, rows)
        square = None
        if work.optimizer.squares:
            shares = own.new_full((1, len(rows)), 1 / len(rows))
            one = (own[None], buffers[None], seen[None], known[None], shares)
            gradient, square = (each[0] for each in moments(work.objective, network, *one, sent))
        else:
            losses = work.objective(network, leaves.whole, network.arranged(seen), known, sent)
            gradient = leaves.gradient(losses.mean())[parameters]
        work.optimizer.step(own, clipped(gradient, work.clip_norm), state, lr, count, square)
        processed += len(rows)
        if work.bound is not None:
            work.bound.project(own, sent[0, parameters])
            if work.bound.left(own, sent[1, parameters]):
                break
    return leaves.memory.clone(), processed


def clipped(gradients: Tensor, longest: float | None) -> Tensor:
    """Shorten each row of ``gradients`` [..., d] to ``longest``, as torch's clip_grad_norm_."""
    if longest is None:
        return gradients
    return gradients * (longest / (lengths(gradients) + 1e-6)).clamp_max(1)
