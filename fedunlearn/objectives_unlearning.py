"""What a client minimises in order to forget: losses that fall as the model gets worse.

Each follows `objectives.Objective`. Below, p_y is the probability that the client's present model
gives to the true class of a record.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedunlearn.layout import Vector
from fedunlearn.objectives import Net, cross_entropies


@dataclass(frozen=True, slots=True)
class Ascent:
    """Cross-entropy upside down: ``log p_y``, so that descent on it is ascent on the loss.

    It has no lower bound and its gradient grows like ``1 / p_y``: clip it, and bound the weights.

    Halimi, Kadhe, Rawat, Baracaldo. Federated unlearning: how to efficiently erase a client in FL?
    2022, arXiv 2207.05521.
    """

    many: ClassVar[bool] = True

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        return -cross_entropies(network(weights, images), labels)


@dataclass(frozen=True, slots=True)
class UnlearningCrossEntropy:
    """Unlearning cross-entropy: ``-log(1 - p_y / 2)``, between 0 (forgotten) and log 2 (known).

    Its derivative by p_y lies between 1/2 and 1: unlike ascent on the cross-entropy, it fades out
    as the model forgets.

    Pan, Wang, Li, Zheng, Wang, Tang, Zhao. Federated unlearning with gradient descent and conflict
    mitigation. AAAI 2025, arXiv 2412.20200.
    """

    many: ClassVar[bool] = True

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        known = (-cross_entropies(network(weights, images), labels)).exp()
        return -(-known / 2).log1p()


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """Cross-entropy on what a second model would say: ``-log p(argmax_c M(x_i)_c | x_i, w)``.

    M is the second model that the server sent along; the client's own labels do not matter.

    Zhao, Wang, Qi, Huang, Wei, Zhang. Federated unlearning with momentum degradation. IEEE Internet
    of Things Journal, 2023.
    """

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        said = network(sent[1], images).argmax(dim=1)
        return cross_entropies(network(weights, images), said)
