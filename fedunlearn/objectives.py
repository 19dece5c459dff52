"""What a client minimises: objectives are frozen dataclasses, sent with the work."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn import functional

from fedunlearn import checks
from fedunlearn.layout import Vector
from fedunlearn.models import Network


class Objective(Protocol):
    """The losses of the records of one batch."""

    def __call__(
        self, network: Network, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]; a step minimises their mean.

        ``weights`` [d] are the client's present weights, ``sent`` [m, d] the models that the
        server sent: that from which the client started, and a second one where the strategy sent
        it along. A penalty on the weights is added to every record's loss: its mean is the penalty.
        """


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``-log softmax(z_i)[y_i] = log sum_c exp z_ic - z_iy`` of each record, [n].

    ``logits`` z is [n, classes], ``labels`` y [n]. Torch's own function is slow for a batch of
    clients, where it takes its steps in Python.
    """
    return logits.logsumexp(dim=1) - logits.gather(1, labels[:, None]).squeeze(1)


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """Cross-entropy: ``-log p(y_i | x_i, w)``."""

    def __call__(
        self, network: Network, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        return cross_entropies(network(weights, images), labels)


@dataclass(frozen=True, slots=True)
class Proximal:
    """FedProx: ``-log p(y_i | x_i, w) + mu/2 |w - w_start|^2``.

    Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. Federated optimization in heterogeneous networks.
    MLSys 2020, arXiv 1812.06127.
    """

    mu: float = 0.01

    def __post_init__(self) -> None:
        """Raise `Refused` for a negative ``mu``."""
        checks.number("objective.mu", self.mu, at_least=0)

    def __call__(
        self, network: Network, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        losses = cross_entropies(network(weights, images), labels)
        return losses + self.mu / 2 * (weights - sent[0]).square().sum()


@dataclass(frozen=True, slots=True)
class Distillation:
    """Imitate a teacher: ``tau^2 KL(softmax(z_i / tau) | softmax(f(x_i) / tau))``.

    In place of labels it takes the teacher's logits z, [n, classes]. ``tau^2`` keeps the size of
    the gradients independent of the temperature tau.

    Hinton, Vinyals, Dean. Distilling the knowledge in a neural network. 2015, arXiv 1503.02531.
    """

    temperature: float = 3.0

    def __post_init__(self) -> None:
        """Raise `Refused` for a temperature that is not positive."""
        checks.number("objective.temperature", self.temperature, above=0)

    def __call__(
        self, network: Network, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        teacher = functional.log_softmax(labels / self.temperature, dim=1)
        student = functional.log_softmax(network(weights, images) / self.temperature, dim=1)
        # torch's own kl_div knows no batch of clients
        return self.temperature**2 * (teacher.exp() * (teacher - student)).sum(dim=1)
