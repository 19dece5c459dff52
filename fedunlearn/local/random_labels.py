"""Cross-entropy on labels drawn by lot, the same for a record wherever it is trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import CountFromZero
from fedunlearn.local.objectives import cross_entropies
from fedunlearn.models import Net, Vector

PRIMES = (1_000_003, 998_244_353, 2_147_483_647)
"""Of the hash that draws labels: a factor for places, one for the seed, and the modulus."""


@dataclass(frozen=True, slots=True)
class RandomLabels:
    """``-log p(y'_i | x_i)`` with a label y'_i that is uniform over all classes.

    It is a hash of the record's input, in whole thousandths, and of ``draw``: so a record has the
    same label in every epoch, engine and batch. Its own label does not matter.
    """

    draw: CountFromZero = 0
    """Another number draws other labels."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        """Return the loss of each record, [n]."""
        logits = network(weights, images)
        return cross_entropies(logits, self.labels(images, logits.shape[-1]))

    def labels(self, images: Tensor, classes: int) -> Tensor:
        """Return the label of each record, [n] int64."""
        factor, shift, modulus = PRIMES
        flat = images.flatten(1)
        whole = (flat * 1000).round().long() if flat.is_floating_point() else flat.long()
        places = (torch.arange(flat.shape[1], device=flat.device) + 1) * factor % modulus
        mixed = (whole * places % modulus).sum(1) + (self.draw + 1) * shift
        mixed = mixed % modulus * factor % modulus
        return (mixed // 7) % classes
