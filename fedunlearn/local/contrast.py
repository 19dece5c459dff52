"""The contrast of a client's records with what a model says of others on average."""

from dataclasses import dataclass

from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Positive
from fedunlearn.models import Net, Vector


@dataclass(frozen=True, slots=True)
class Contrast:
    """Be as like one prototype as another: ``-mean_c log softmax_c(f(x_i) . z_c / tau)``.

    z_c are k prototypes, logits of others by class on average. It is least where ``f(x_i)`` is
    equally like all of them, and there log k. Labels do not matter.

    From the winning entry of the NeurIPS 2023 machine unlearning competition, where single retained
    records stand in place of prototypes: see `strategies.fanchuan`.
    """

    temperature: Positive = 1.15
    """Tau: how much a difference in likeness counts; less is more."""
    prototypes: tuple[float, ...] = ()
    """The prototypes' logits that the server sends, one after another: k times the classes."""

    def __post_init__(self) -> None:
        """Turn a list into a tuple; raise `Refused` for values outside their range."""
        checks.fields(self)
        object.__setattr__(self, "prototypes", tuple(self.prototypes))

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]; 0 without prototypes."""
        logits = network(weights, images)
        others = logits.new_tensor(self.prototypes).view(-1, logits.shape[-1])
        if not len(others):
            return 0 * logits.sum(dim=-1)
        return -(logits @ others.T / self.temperature).log_softmax(dim=-1).mean(dim=-1)
