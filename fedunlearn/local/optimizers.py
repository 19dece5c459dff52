"""How a client steps: SGD, Adam, and division by the diagonal of the Fisher information."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Count, NotNegative, Positive, Share, ShareBelowOne

State = tuple[Tensor, ...]
"""What an optimizer carries from step to step, each shaped like the weights."""


class Step(NamedTuple):
    """What a step is made of; tensors are shaped like the weights."""

    gradient: Tensor
    """Mean over the batch's records."""
    lr: float
    """Learning rate of the round."""
    number: int
    """Number of the step in its round, from 1."""
    square: Tensor | None = None
    """Mean of the records' squared gradients, coordinate by coordinate, where that is asked for."""


class LocalOptimizer(Protocol):
    """The step rule of a client's round; it knows one client's weights [d] as well as many [k, d].

    Torch's own optimizers compute the same, but their first step imports a compiler for seconds.
    """

    squares: ClassVar[bool]
    """Whether a step takes the squared gradients of single records, which cost more."""

    @property
    def lr(self) -> float:
        """Full learning rate."""

    def start(self, weights: Tensor) -> State:
        """Return the state before the first step of a round; nothing is carried over."""

    def step(self, weights: Tensor, state: State, now: Step) -> None:
        """Change ``weights`` and ``state`` in place by one step."""


@dataclass(frozen=True, slots=True)
class Sgd:
    """Gradient descent with momentum: ``v <- m v + g + c w``, then ``w <- w - lr v``.

    m is ``momentum``, c ``weight_decay``; v is zero before every round. With ``nesterov`` the step
    is ``lr (g + c w + m v)``.
    """

    squares: ClassVar[bool] = False

    lr: Positive = 0.02
    """Full learning rate; the work's schedule gives each round its share of it."""
    momentum: Share = 0.9
    """Share of the last step's direction that the next one keeps; 0: none."""
    weight_decay: NotNegative = 0.0
    """Pull of the weights towards 0."""
    nesterov: bool = False
    """Whether the step looks ahead along the momentum, which must be above 0."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
        if self.nesterov and not self.momentum:
            raise checks.field_refused(self, "nesterov", "=true needs momentum above 0.")

    def start(self, weights: Tensor) -> State:
        """Return a velocity of zero, or nothing without momentum."""
        return (torch.zeros_like(weights),) if self.momentum else ()

    def step(self, weights: Tensor, state: State, now: Step) -> None:
        """Change ``weights`` and the velocity."""
        gradient = now.gradient
        if self.weight_decay:
            gradient = gradient.add(weights, alpha=self.weight_decay)
        for velocity in state:
            velocity.mul_(self.momentum).add_(gradient)
            gradient = gradient.add(velocity, alpha=self.momentum) if self.nesterov else velocity
        weights.add_(gradient, alpha=-now.lr)


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam with decoupled weight decay (AdamW), from fresh moments in every round.

    ``m <- b1 m + (1 - b1) g``, ``v <- b2 v + (1 - b2) g^2``, then ``w <- (1 - lr c) w - lr m^ /
    (sqrt(v^) + 1e-8)`` with ``m^ = m / (1 - b1^t)``, ``v^ = v / (1 - b2^t)`` in step t.

    Kingma, Ba. Adam: a method for stochastic optimization. ICLR 2015, arXiv 1412.6980. Loshchilov,
    Hutter. Decoupled weight decay regularization. ICLR 2019, arXiv 1711.05101.
    """

    squares: ClassVar[bool] = False

    lr: Positive = 0.001
    """Full learning rate; the work's schedule gives each round its share of it."""
    beta1: ShareBelowOne = 0.9
    """Share of the mean gradient that a step keeps."""
    beta2: ShareBelowOne = 0.999
    """Share of the mean squared gradient that a step keeps."""
    weight_decay: NotNegative = 0.0
    """Pull of the weights towards 0, apart from the gradient."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def start(self, weights: Tensor) -> State:
        """Return both moments, zero."""
        return _zeros(weights)

    def step(self, weights: Tensor, state: State, now: Step) -> None:
        """Change ``weights`` and the moments."""
        root = _advance(state, now.gradient, now, self.beta1, self.beta2).add_(1e-8)
        weights.mul_(1 - now.lr * self.weight_decay)
        weights.addcdiv_(state[0], root, value=-now.lr / (1 - self.beta1**now.number))


@dataclass(frozen=True, slots=True)
class DiagonalFisher:
    """Quasi-Newton steps with moments in AdaHessian's form, from fresh ones in every round.

    ``D = blocks(mean_i g_i * g_i)`` over the records i of the batch: each block of ``block``
    consecutive weights takes its mean, the last one may be shorter. Then ``m <- b1 m + (1 - b1) g``
    with ``g = mean_i g_i``, ``v <- b2 v + (1 - b2) D * D``, and ``w <- w - lr m^ / (sqrt(v^)^power
    + epsilon)`` with ``m^ = m / (1 - b1^t)``, ``v^ = v / (1 - b2^t)`` in step t.

    ``power`` = 1 divides by the curvature, 1/2 by its root: then a batch of one record and blocks
    of one weight give Adam's first step, and with b2 = 0 all its steps. The empirical Fisher
    information vanishes faster than the gradient where records are learnt, so that g / D grows:
    ``epsilon`` bounds the step by ``lr |m^| / epsilon``.

    Liu, Xu, Yuan, Wang, Li. The right to be forgotten in federated learning: an efficient
    realization with rapid retraining. INFOCOM 2022, arXiv 2203.07320. Yao, Gholami, Shen, Mustafa,
    Keutzer, Mahoney. AdaHessian: an adaptive second order optimizer for machine learning. AAAI
    2021, arXiv 2006.00719.
    """

    squares: ClassVar[bool] = True

    lr: Positive = 0.001
    """Full learning rate; the work's schedule gives each round its share of it."""
    beta1: ShareBelowOne = 0.9
    """Share of the mean gradient that a step keeps."""
    beta2: ShareBelowOne = 0.999
    """Share of the mean squared curvature that a step keeps."""
    block: Count = 3
    """So many consecutive weights share their mean curvature."""
    power: Share = 1.0
    """Power of the curvature that divides a step; 0.5: its root, as in Adam."""
    epsilon: Positive = 1e-4
    """Added to that divisor: bounds the step."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def start(self, weights: Tensor) -> State:
        """Return both moments, zero."""
        return _zeros(weights)

    def step(self, weights: Tensor, state: State, now: Step) -> None:
        """Change ``weights`` and the moments."""
        assert now.square is not None
        root = _advance(state, blocks(now.square, self.block), now, self.beta1, self.beta2)
        divisor = root.pow_(self.power).add_(self.epsilon)
        weights.addcdiv_(state[0], divisor, value=-now.lr / (1 - self.beta1**now.number))


def _zeros(weights: Tensor) -> State:
    """Return two moments, zero."""
    return torch.zeros_like(weights), torch.zeros_like(weights)


def _advance(state: State, values: Tensor, now: Step, beta1: float, beta2: float) -> Tensor:
    """Bring both moments, m of the gradient and v of ``values`` squared, up to date in place.

    Returns the root of v, corrected for its start at zero: ``sqrt(v / (1 - beta2^t))``.
    """
    first, second = state
    first.lerp_(now.gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(values, values, value=1 - beta2)
    return second.sqrt().div_(math.sqrt(1 - beta2**now.number))


def blocks(values: Tensor, size: int) -> Tensor:
    """Give each block of ``size`` consecutive coordinates its mean: [..., d] -> [..., d]."""
    whole = values.shape[-1] // size * size
    full = values[..., :whole].reshape(*values.shape[:-1], whole // size, size)
    parts = [part for part in (full, values[..., None, whole:]) if part.numel()]
    means = [part.mean(-1, keepdim=True).expand_as(part).flatten(-2) for part in parts]
    return torch.cat(means, dim=-1)
