"""A local step rule that divides by the diagonal of the empirical Fisher information."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.local import State


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

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    block: int = 3
    power: float = 1.0
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.number("optimizer.lr", self.lr, above=0)
        for name in ("beta1", "beta2"):
            checks.number(f"optimizer.{name}", getattr(self, name), at_least=0, below=1)
        checks.whole("optimizer.block", self.block)
        checks.number("optimizer.power", self.power, at_least=0, at_most=1)
        checks.number("optimizer.epsilon", self.epsilon, above=0)

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
        assert square is not None
        first, second = state
        curvature = blocks(square, self.block)
        first.lerp_(gradient, 1 - self.beta1)
        second.mul_(self.beta2).addcmul_(curvature, curvature, value=1 - self.beta2)
        root = second.sqrt().div_(math.sqrt(1 - self.beta2**count))
        divisor = root.pow_(self.power).add_(self.epsilon)
        weights.addcdiv_(first, divisor, value=-lr / (1 - self.beta1**count))


def blocks(values: Tensor, size: int) -> Tensor:
    """Give each block of ``size`` consecutive coordinates its mean: [..., d] -> [..., d]."""
    whole = values.shape[-1] // size * size
    full = values[..., :whole].reshape(*values.shape[:-1], whole // size, size)
    parts = [part for part in (full, values[..., None, whole:]) if part.numel()]
    means = [part.mean(-1, keepdim=True).expand_as(part).flatten(-2) for part in parts]
    return torch.cat(means, dim=-1)
