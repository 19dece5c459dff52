"""How far a client's training may go: `Ball`, a bound that local work may set."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import NotNegative
from fedunlearn.models import LEAST_LENGTH, lengths


@dataclass(frozen=True, slots=True)
class Ball:
    """Stay within ``radius`` of the model that was sent; end once ``stop`` away from the second.

    After every step the parameters w become ``w_0 + min(1, r / |w - w_0|) (w - w_0)``, and the work
    ends where then ``|w - w_1| > s``. w_0 is the model that the client started from, w_1 the
    second one that the server sent along, r ``radius`` and s ``stop``: plain Euclidean lengths over
    all parameters, not squared. Without a stop no second model is looked at.
    """

    radius: NotNegative
    """Longest way from the model that the client started from."""
    stop: NotNegative | None = None
    """Distance from the second model at which the work ends; None: none."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def project(self, weights: Tensor, start: Tensor) -> None:
        """Pull each row of ``weights`` [..., p] back to the ball around ``start``, in place.

        Those inside stay as they are, to the last bit.
        """
        outside = 1 - (self.radius / lengths(weights - start).clamp_min(LEAST_LENGTH)).clamp_max(1)
        weights.lerp_(start.expand_as(weights), outside)

    def left(self, weights: Tensor, sent: Tensor) -> Tensor:
        """Return which rows of ``weights`` [..., p] end, as [..., 1]; ``sent`` is [..., m, p]."""
        if self.stop is None:
            return torch.zeros_like(weights[..., :1], dtype=torch.bool)
        return lengths(weights - sent[..., 1, :]) > self.stop
