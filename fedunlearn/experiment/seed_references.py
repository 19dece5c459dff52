"""The retrained models of one seed, with the seed: no other seed is measured by them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedunlearn.models import Vector
from fedunlearn.unlearning import Phase


@dataclass(frozen=True, slots=True)
class SeedReferences:
    """What the models of one seed are compared with; none is there before its retraining is."""

    seed: int
    models: Mapping[tuple[int, Phase], Vector] = field(default_factory=dict)
    """The retrained model [d] of each request, by phase."""
    values: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """The metrics of the reference at the end of each request."""
