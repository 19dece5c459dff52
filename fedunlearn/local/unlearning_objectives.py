"""Objectives by which a client forgets: ascent, wrong labels, and teachers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Positive
from fedunlearn.local.objectives import Distillation, cross_entropies
from fedunlearn.models import Net, Vector


@dataclass(frozen=True, slots=True)
class VirtualTeacher:
    """Imitate the model that one starts from, but for the class that is true.

    ``tau^2 KL(softmax(z'_i / tau) | softmax(f(x_i, w) / tau))`` with ``z_i = f(x_i, w_start)`` and
    ``z'_ic = z_ic``, save that the true class gets the smallest logit: ``z'_iy = min_c z_ic``.

    Mora, Valerio, Bellavista, Passarella. FedQUIT: On-Device Federated Unlearning via a
    Quasi-Competent Virtual Teacher. 2024, arXiv 2408.07587.
    """

    temperature: Positive = 1.0
    """Softness of teacher and student: logits are divided by it."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        teacher = network(sent[0], images).detach()
        virtual = teacher.scatter(1, labels[:, None], teacher.amin(dim=1, keepdim=True))
        return Distillation(self.temperature)(network, weights, images, virtual, sent)


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
        probabilities = (-cross_entropies(network(weights, images), labels)).exp()
        return -(-probabilities / 2).log1p()


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """Cross-entropy on what a second model would say: ``-log p(argmax_c M(x_i)_c | x_i, w)``.

    M is the second model that the server sent along; the client's own labels do not matter.

    Zhao, Wang, Qi, Huang, Wei, Zhang. Federated unlearning with momentum degradation. IEEE Internet
    of Things Journal, 2023.
    """

    teacher: ClassVar[bool] = True

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        answers = network(sent[1], images).argmax(dim=1)
        return cross_entropies(network(weights, images), answers)
