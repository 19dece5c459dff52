"""How entangled two sets of records are in a model's features: sums over records are all it needs.

    ES(R, S) = 2 (V_R + V_S) / (|mu_R - mu|^2 + |mu_S - mu|^2) = 4 (V_R + V_S) / |mu_R - mu_S|^2

with phi the features that enter the last layer, mu_R and mu_S their means, V the mean squared
distance from the own mean, and mu the midpoint of both means. High is entangled: the sets spread
further than they lie apart.

Zhao, Kurmanji, Barbulescu, Triantafillou, Triantafillou. What makes unlearning hard and what to do
about it. NeurIPS 2024, arXiv 2406.01257. The paper writes mu for a common mean; the authors' code
takes the midpoint, and so is done here: it does not depend on how large the sets are. The code
averages the means of batches, which weighs a smaller last batch too much; sums here are exact.

Few records lift the distance of two means by chance: for sets of r and s records from the same
distribution ES is about ``8 / (1/r + 1/s)`` (`chance_entanglement`), not infinite. Compare sets of
like size.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over records by class: what a client tells of its features, and no record of it.

    They add up over clients, so that secure aggregation could carry them, and leave again by
    subtraction. All of it is float64.
    """

    count: Tensor
    """Records of each class, [classes]."""
    sum: Tensor
    """Sums of their features, [classes, f]."""
    square: Tensor
    """Sums of their features' squared lengths, [classes]."""

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, classes: int) -> Self:
        """Sum ``features`` [n, f] of records with ``labels`` [n]."""
        wide, ones = features.double(), functional.one_hot(labels, classes).double()
        return cls(ones.sum(0), ones.T @ wide, ones.T @ wide.square().sum(1))

    @classmethod
    def read(cls, sums: Mapping[str, Tensor]) -> Self:
        """Take what one client answered to the query `FeatureMoments`: the sums by their names."""
        return cls(*(sums[name].double() for name in ("count", "sum", "square")))

    @classmethod
    def total(cls, parts: Iterable["Moments"]) -> Self:
        """Add up the sums of all ``parts``, of which there must be one."""
        held = list(parts)
        return cls(
            torch.stack([each.count for each in held]).sum(0),
            torch.stack([each.sum for each in held]).sum(0),
            torch.stack([each.square for each in held]).sum(0),
        )

    @property
    def records(self) -> float:
        """How many records there are."""
        return float(self.count.sum())

    def spread(self) -> tuple[Tensor, float]:
        """Return the mean of all features [f] and V; nan where there are no records."""
        mean = self.sum.sum(0) / self.count.sum()
        return mean, float(self.square.sum() / self.count.sum() - mean.square().sum())

    def of_class(self, label: int) -> "Moments":
        """Return the sums of one class."""
        here = slice(label, label + 1)
        return Moments(self.count[here], self.sum[here], self.square[here])


def entanglement_score(first: Moments, second: Moments) -> float:
    """Return ES of two sets of records, at least 0: below 1 far apart, infinite with equal means.

    It does not depend on which is the first. nan where one is empty.
    """
    (mean, spread), (other_mean, other_spread) = first.spread(), second.spread()
    if not first.records or not second.records:
        return np.nan
    apart = float((mean - other_mean).square().sum())
    both = 4 * max(0.0, spread + other_spread)  # sums of equal records leave rounding below 0
    return both / apart if apart > 0 else np.inf


def class_entanglement_score(first: Moments, second: Moments) -> float:
    """Return the mean of ES over the classes of which both sets hold two records or more.

    Sets that hold other shares of the classes are far apart in `entanglement_score`, however alike
    their records of a class are; here they are not. A single record has no spread, so it tells
    nothing. nan where there is no such class.
    """
    shared = torch.nonzero((first.count >= 2) & (second.count >= 2)).flatten().tolist()
    scores = [entanglement_score(first.of_class(c), second.of_class(c)) for c in shared]
    return float(np.mean(scores)) if scores else np.nan


def chance_entanglement(first: float, second: float) -> float:
    """Return about what ES is for sets of so many records from the same distribution.

    ``8 / (1/r + 1/s)``: V_R = V_S = V, and the squared distance of the means is ``V/r + V/s`` in
    the mean.
    """
    return 8 / (1 / first + 1 / second)
