"""Objectives by which a client unlearns from a teacher that the server sent."""

from dataclasses import dataclass

from torch import Tensor

from fedunlearn import checks
from fedunlearn.layout import Vector
from fedunlearn.objectives import Distillation, Net


@dataclass(frozen=True, slots=True)
class VirtualTeacher:
    """Imitate the model that one starts from, but for the class that is true.

    ``tau^2 KL(softmax(z'_i / tau) | softmax(f(x_i, w) / tau))`` with ``z_i = f(x_i, w_start)`` and
    ``z'_ic = z_ic``, save that the true class gets the smallest logit: ``z'_iy = min_c z_ic``.

    Mora, Valerio, Bellavista, Passarella. FedQUIT: On-Device Federated Unlearning via a
    Quasi-Competent Virtual Teacher. 2024, arXiv 2408.07587.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Raise `Refused` for a temperature that is not positive."""
        checks.number("objective.temperature", self.temperature, above=0)

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        known = network(sent[0], images).detach()
        virtual = known.scatter(1, labels[:, None], known.amin(dim=1, keepdim=True))
        return Distillation(self.temperature)(network, weights, images, virtual, sent)
