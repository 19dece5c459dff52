"""Clients who do not get as far as they were asked to: `Straggling`."""

import math
from dataclasses import dataclass

import numpy as np

from fedunlearn import checks
from fedunlearn.checks import Share, ShareAboveZero
from fedunlearn.randomness import Stream, sibling


@dataclass(frozen=True, slots=True)
class Straggling:
    """Some clients stop early and send what they have: ``ceil(effort * steps)`` steps.

    Whether a client does is a function of the run's seed, the round and the client alone. What it
    did stands in ledger.csv, as ``samples``.

    Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. Federated optimization in heterogeneous networks.
    MLSys 2020, arXiv 1812.06127.
    """

    share: Share = 0.2
    """Chance that a client stops early in a round."""
    effort: ShareAboveZero = 0.5
    """Share of its steps that it then takes."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def steps(self, asked: int, rng: np.random.Generator) -> int:
        """Return how many of the steps that are asked for the client of ``rng`` takes."""
        stops = sibling(rng, Stream.STRAGGLING).random() < self.share
        return math.ceil(self.effort * asked) if stops else asked
