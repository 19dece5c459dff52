"""How the server turns the mean update of a round into the next model.

An optimizer is a pure function with explicit state, so that a request can start it afresh:
momentum is made of past updates, the leavers' among them.
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from fedunlearn import checks
from fedunlearn.checks import Positive, Share
from fedunlearn.models import Vector

State = tuple[Vector, ...]
"""What an optimizer carries from round to round, each [d]."""


class ServerOptimizer(Protocol):
    """A step rule; ``update`` [d] is the cohort's mean of ``local - broadcast``."""

    def start(self, weights: Vector) -> State:
        """Return the state before the first step."""

    def step(self, weights: Vector, update: Vector, state: State) -> tuple[Vector, State]:
        """Return the next model [d] and state."""


@dataclass(frozen=True, slots=True)
class FedAvg:
    """FedAvg: ``w <- w + lr u``; with lr = 1 the clients' weighted mean.

    McMahan, Moore, Ramage, Hampson, Agüera y Arcas. Communication-efficient learning of deep
    networks from decentralized data. AISTATS 2017, arXiv 1602.05629.
    """

    lr: Positive = 1.0
    """Factor on the mean update; 1 takes the clients' mean."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def start(self, weights: Vector) -> State:
        """Nothing is carried over."""
        return ()

    def step(self, weights: Vector, update: Vector, state: State) -> tuple[Vector, State]:
        """Take one step."""
        return weights + self.lr * update, state


@dataclass(frozen=True, slots=True)
class FedAvgM:
    """FedAvgM: ``m <- beta m + u``, ``w <- w + lr m``.

    Hsu, Qi, Brown. Measuring the effects of non-identical data distribution for federated visual
    classification. 2019, arXiv 1909.06335.
    """

    lr: Positive = 1.0
    """Factor on the momentum."""
    beta: Share = 0.9
    """Share of the momentum that a round keeps."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def start(self, weights: Vector) -> State:
        """Start from momentum zero."""
        return (torch.zeros_like(weights),)

    def step(self, weights: Vector, update: Vector, state: State) -> tuple[Vector, State]:
        """Take one step."""
        momentum = self.beta * state[0] + update
        return weights + self.lr * momentum, (momentum,)


@dataclass(frozen=True, slots=True)
class FedAdam:
    """FedAdam: ``w <- w + lr m / (sqrt(v) + tau)`` with running means m of u and v of u^2.

    ``m <- b1 m + (1-b1) u`` and ``v <- b2 v + (1-b2) u^2``;
    ``v`` starts at tau^2 and neither is corrected for its start, as in the paper.

    Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan. Adaptive federated
    optimization. ICLR 2021, arXiv 2003.00295.
    """

    lr: Positive = 0.01
    """Length of a step, as a factor on the normalised mean."""
    beta1: Share = 0.9
    """Share of the mean update that a round keeps."""
    beta2: Share = 0.99
    """Share of the mean squared update that a round keeps."""
    tau: Positive = 0.001
    """Added to the divisor: bounds the step."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def start(self, weights: Vector) -> State:
        """Start from ``m = 0``, ``v = tau^2``."""
        return _adaptive_start(self, weights)

    def step(self, weights: Vector, update: Vector, state: State) -> tuple[Vector, State]:
        """Take one step."""
        squares = self.beta2 * state[1] + (1 - self.beta2) * update.square()
        return _adaptive_step(self, weights, update, (state[0], squares))


@dataclass(frozen=True, slots=True)
class FedYogi:
    """FedYogi: as `FedAdam`, but ``v <- v - (1-b2) u^2 sign(v - u^2)``.

    Reddi et al. Adaptive federated optimization. ICLR 2021, arXiv 2003.00295.
    """

    lr: Positive = 0.01
    """Length of a step, as a factor on the normalised mean."""
    beta1: Share = 0.9
    """Share of the mean update that a round keeps."""
    beta2: Share = 0.99
    """Share of the mean squared update that a round keeps."""
    tau: Positive = 0.001
    """Added to the divisor: bounds the step."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def start(self, weights: Vector) -> State:
        """Start from ``m = 0``, ``v = tau^2``."""
        return _adaptive_start(self, weights)

    def step(self, weights: Vector, update: Vector, state: State) -> tuple[Vector, State]:
        """Take one step."""
        square = update.square()
        squares = state[1] - (1 - self.beta2) * square * torch.sign(state[1] - square)
        return _adaptive_step(self, weights, update, (state[0], squares))


def _adaptive_start(optimizer: FedAdam | FedYogi, weights: Vector) -> State:
    return torch.zeros_like(weights), torch.full_like(weights, optimizer.tau**2)


def _adaptive_step(
    optimizer: FedAdam | FedYogi, weights: Vector, update: Vector, state: State
) -> tuple[Vector, State]:
    """Step by the mean of updates, over the root of the mean square that ``state`` holds already.

    ``state`` is (m before the step, v after it), each [d].
    """
    first = optimizer.beta1 * state[0] + (1 - optimizer.beta1) * update
    stepped = weights + optimizer.lr * first / (state[1].sqrt() + optimizer.tau)
    return stepped, (first, state[1])
