"""Objectives that hold on to another model: imitation of what it says, and sums of several."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from fedunlearn import checks
from fedunlearn.checks import Positive
from fedunlearn.local.objectives import CrossEntropy, Objective
from fedunlearn.models import Net, Vector


def teaches(objective: object) -> bool:
    """Whether an objective compares with a second model that must be sent along."""
    return bool(getattr(objective, "teacher", False))


@dataclass(frozen=True, slots=True)
class Imitation:
    """Say what the second model says: ``tau^2 KL(softmax(t_i / tau) | softmax(f(x_i) / tau))``.

    t_i are the logits of the second model that the server sent; labels do not matter. The factor
    ``tau^2`` is left out where ``scaled`` is false. As the gradient of a soft cross-entropy with
    the same teacher is that of this divergence, their sum is twice this.
    """

    teacher: ClassVar[bool] = True

    temperature: Positive = 1.0
    """Softness of teacher and student: logits are divided by it."""
    scaled: bool = True
    """Whether the loss has the factor tau^2, so that gradients do not shrink as tau grows."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        teacher = functional.log_softmax(network(sent[1], images) / self.temperature, dim=1)
        student = functional.log_softmax(network(weights, images) / self.temperature, dim=1)
        factor = self.temperature**2 if self.scaled else 1.0
        return factor * (teacher.exp() * (teacher - student)).sum(dim=1)


@dataclass(frozen=True, slots=True)
class LogitMatch:
    """Have the second model's logits: ``mean_c (f(x_i)_c - t_ic)^2``; labels do not matter."""

    teacher: ClassVar[bool] = True

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        return (network(weights, images) - network(sent[1], images)).square().mean(dim=1)


@dataclass(frozen=True, slots=True)
class EntropyMatch:
    """Be as sure as the second model: ``(H(softmax f(x_i)) - H(softmax t_i))^2``.

    H is the entropy in nats. It is 0 wherever the student is the teacher, but elsewhere as well.
    """

    teacher: ClassVar[bool] = True

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        return (_entropy(network(weights, images)) - _entropy(network(sent[1], images))).square()


def _entropy(logits: Tensor) -> Tensor:
    logs = functional.log_softmax(logits, dim=1)
    return -(logs.exp() * logs).sum(dim=1)


@dataclass(frozen=True, slots=True)
class Indifference:
    """Say nothing: ``KL(uniform | softmax f(x_i)) = -log C - mean_c log p_c``; no labels."""

    many: ClassVar[bool] = True

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        logs = functional.log_softmax(network(weights, images), dim=-1)
        return -math.log(logs.shape[-1]) - logs.mean(dim=-1)


@dataclass(frozen=True, slots=True)
class Blend:
    """A weighted sum of objectives: ``sum_j a_j l_ij``."""

    parts: tuple[Objective, ...] = (CrossEntropy(),)
    """The objectives."""
    weights: tuple[float, ...] = (1.0,)
    """What each of them counts, in their order."""

    def __post_init__(self) -> None:
        """Turn lists into tuples; raise `Refused` unless each objective has a weight."""
        checks.fields(self)
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "weights", tuple(self.weights))
        if not self.parts or len(self.parts) != len(self.weights):
            rest = f" must hold one number for each of the {len(self.parts)} parts."
            raise checks.field_refused(self, "weights", rest)

    @property
    def teacher(self) -> bool:
        """Whether any part compares with a second model."""
        return any(map(teaches, self.parts))

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        losses = [part(network, weights, images, labels, sent) for part in self.parts]
        weighted = [share * loss for share, loss in zip(self.weights, losses, strict=True)]
        return sum(weighted[1:], weighted[0])
