"""What a client minimises: objectives are frozen dataclasses, sent with the work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from fedunlearn import checks
from fedunlearn.checks import NotNegative, Positive, ShareBelowOne
from fedunlearn.models import Net, Network, Vector


class Objective(Protocol):
    """The losses of the records of one batch.

    One that sets ``many = True`` also takes many clients at once: ``weights`` [k, d], ``images``
    [k, n, ...], ``labels`` [k, n] and ``sent`` [m, d] or [k, m, d], and returns [k, n]. Others are
    spread over clients by vmap, which takes longer.
    """

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]; a step minimises their mean.

        ``weights`` [d] are the client's present weights, ``sent`` [m, d] the models that the
        server sent: that from which the client started, and a second one where the strategy sent
        it along. A penalty on the weights is added to every record's loss: its mean is the penalty.
        """


def of_many(
    objective: Objective, network: Network, one_each: bool
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Return the function from ``weights, images, labels, sent`` of k clients to losses [k, n].

    ``one_each`` says whether ``sent`` is [k, m, d] rather than [m, d] for all.
    """
    if getattr(objective, "many", False):
        return lambda *clients: objective(network.together, *clients)

    def losses(weights: Vector, images: Tensor, labels: Tensor, sent: Tensor) -> Tensor:
        return objective(network, weights, images, labels, sent)

    return vmap(losses, in_dims=(0, 0, 0, 0 if one_each else None))


def cross_entropies(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return ``-log softmax(z_i)[y_i] = log sum_c exp z_ic - z_iy`` of each record, [..., n].

    ``logits`` z is [..., n, classes], ``labels`` y [..., n]. With ``smoothing`` s it becomes
    ``-(1 - s) log p_y - s mean_c log p_c``. Torch's own function is slow under vmap, where it takes
    its steps in Python.
    """
    logs = functional.log_softmax(logits, dim=-1)
    losses = -logs.gather(-1, labels[..., None]).squeeze(-1)
    return losses if not smoothing else (1 - smoothing) * losses - smoothing * logs.mean(dim=-1)


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """Cross-entropy: ``-(1 - s) log p(y_i | x_i, w) - s mean_c log p(c | x_i, w)``.

    s is ``label_smoothing``. Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. Rethinking the Inception
    architecture for computer vision. CVPR 2016, arXiv 1512.00567.
    """

    many: ClassVar[bool] = True

    label_smoothing: ShareBelowOne = 0.0
    """Share of a label that is spread over all classes alike; 0: none."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        return cross_entropies(network(weights, images), labels, self.label_smoothing)


@dataclass(frozen=True, slots=True)
class Proximal:
    """FedProx: ``-log p(y_i | x_i, w) + mu/2 |w - w_start|^2``.

    Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. Federated optimization in heterogeneous networks.
    MLSys 2020, arXiv 1812.06127.
    """

    many: ClassVar[bool] = True

    mu: NotNegative = 0.01
    """Pull towards the model that the server sent."""
    label_smoothing: ShareBelowOne = 0.0
    """As in `CrossEntropy`."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        losses = cross_entropies(network(weights, images), labels, self.label_smoothing)
        pull = (weights - sent[..., 0, :]).square().sum(dim=-1, keepdim=True)
        return losses + self.mu / 2 * pull


@dataclass(frozen=True, slots=True)
class Corrected:
    """Another objective, corrected: ``l_i(w) + <v, w> + alpha/2 |w - w_start|^2``.

    v is the second vector that the server sent along, a client's own (see `unlearning.Scaffold` and
    `unlearning.FedDyn`).
    """

    objective: Objective
    """What is corrected; it is shown no second model."""
    alpha: NotNegative = 0.0
    """Pull towards the model that the server sent."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def many(self) -> bool:
        """Whether it takes many clients at once: as what is corrected does."""
        return bool(getattr(self.objective, "many", False))

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        losses = self.objective(network, weights, images, labels, sent[..., :1, :])
        along = (weights * sent[..., 1, :]).sum(dim=-1, keepdim=True)
        if not self.alpha:
            return losses + along
        pull = (weights - sent[..., 0, :]).square().sum(dim=-1, keepdim=True)
        return losses + along + self.alpha / 2 * pull


@dataclass(frozen=True, slots=True)
class Distillation:
    """Imitate a teacher: ``tau^2 KL(softmax(z_i / tau) | softmax(f(x_i) / tau))``.

    In place of labels it takes the teacher's logits z, [n, classes]. ``tau^2`` keeps the size of
    the gradients independent of the temperature tau.

    Hinton, Vinyals, Dean. Distilling the knowledge in a neural network. 2015, arXiv 1503.02531.
    """

    temperature: Positive = 3.0
    """Softness of teacher and student: logits are divided by it."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        teacher = functional.log_softmax(labels / self.temperature, dim=1)
        student = functional.log_softmax(network(weights, images) / self.temperature, dim=1)
        # torch's own kl_div knows no batch of clients
        return self.temperature**2 * (teacher.exp() * (teacher - student)).sum(dim=1)
