"""Objectives with a penalty on the weights: what it costs to leave them, or to have any at all."""

from dataclasses import dataclass, field

from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import NotNegative
from fedunlearn.local.objectives import CrossEntropy, Objective
from fedunlearn.local.teacher_objectives import teaches
from fedunlearn.models import Net, Vector


@dataclass(frozen=True, slots=True)
class FisherPenalty:
    """Another objective, and what moving costs: ``l_i(w) + lambda sum_j F_j (w_j - w_start,j)^2``.

    F [d] is the second vector that the server sent along, such as a diagonal Fisher information.

    Kirkpatrick et al. Overcoming catastrophic forgetting in neural networks. PNAS 2017, arXiv
    1612.00796: elastic weight consolidation, with lambda / 2 in place of lambda.
    """

    objective: Objective = field(default_factory=CrossEntropy)
    """What is minimised besides; it is shown no second model."""
    strength: NotNegative = 1.0
    """Lambda."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for a teacher's objective."""
        checks.fields(self)
        if teaches(self.objective):
            rest = " must not imitate a second model: what is sent along is the penalty's weights."
            raise checks.field_refused(self, "objective", rest)

    @property
    def many(self) -> bool:
        """Whether it takes many clients at once: as the other objective does."""
        return bool(getattr(self.objective, "many", False))

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        losses = self.objective(network, weights, images, labels, sent[..., :1, :])
        away = (weights - sent[..., 0, :]).square() * sent[..., 1, :]
        return losses + self.strength * away.sum(dim=-1, keepdim=True)


@dataclass(frozen=True, slots=True)
class L1Penalty:
    """Another objective, and what any weight costs: ``l_i(w) + lambda sum_j |w_j|``.

    It counts all trained parameters, biases and scales of normalisations as well; its slope at 0 is
    0, so that a weight gets near 0 rather than to it.
    """

    objective: Objective = field(default_factory=CrossEntropy)
    """What is minimised besides."""
    strength: NotNegative = 0.0005
    """Lambda."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def teacher(self) -> bool:
        """Whether the other objective compares with a second model."""
        return teaches(self.objective)

    @property
    def many(self) -> bool:
        """Whether it takes many clients at once: as the other objective does."""
        return bool(getattr(self.objective, "many", False))

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        losses = self.objective(network, weights, images, labels, sent)
        return losses + self.strength * weights.abs().sum(dim=-1, keepdim=True)
