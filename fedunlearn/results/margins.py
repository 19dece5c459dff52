"""What counts as the same as retraining: margins, and whether a measure lies within them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt

from fedunlearn import checks
from fedunlearn.results.joint_test import LEVEL
from fedunlearn.results.metric_cards import card_or_plain
from fedunlearn.results.permutation_test import Values, exchange

UTILITY_METRIC = "test_accuracy"
"""The measure of which a broken model has lost too much."""


@dataclass(frozen=True, slots=True)
class Margins:
    """Up to where a model counts as whole, and as good as retrained."""

    utility: Annotated[float, checks.Number(above=0, at_most=1)] = 0.1
    """Accuracy on test records that a model may lack next to retraining; beyond it is broken."""
    spread: checks.Positive = 4.0
    """Standard deviations of retraining within a seed up to which a gap counts as none."""
    least: Annotated[float, checks.Number(at_least=0, at_most=1)] = 0.01
    """The least such margin, of measures that lie between 0 and 1."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)


@dataclass(frozen=True)
class Measured:
    """A measure of a strategy's models y [S] and of the retrained models x [S, R].

    Its interval is found once: it goes through all arrangements.
    """

    metric: str
    values: Values
    references: Values

    @property
    def counts(self) -> npt.NDArray[np.bool_]:
        """Which seeds have all numbers, [S]."""
        complete: npt.NDArray[np.bool_] = np.isfinite(self.references.sum(axis=1) + self.values)
        return complete

    @property
    def finite(self) -> bool:
        """Whether the strategy's models have numbers wherever the references have."""
        complete = np.isfinite(self.references.sum(axis=1))
        return bool(np.isfinite(self.values[complete]).all())

    @property
    def constant(self) -> bool:
        """Whether it is the same for all models of each seed."""
        together = np.column_stack([self.values, self.references])[self.counts]
        return bool((np.ptp(together, axis=1) == 0).all())

    @property
    def value(self) -> float:
        """The strategy's mean over the seeds in which the references have numbers."""
        return float(self.values[np.isfinite(self.references.sum(axis=1))].mean())

    @property
    def reference(self) -> float:
        """The mean of all retrained models of these seeds."""
        return float(self.references[np.isfinite(self.references.sum(axis=1))].mean())

    @property
    def gap(self) -> float:
        """``mean_s (y_s - mean_r x_sr)``."""
        shown = self.counts
        return float((self.values - self.references.mean(axis=1))[shown].mean())

    @property
    def remembers(self) -> bool | None:
        """Whether the gap is on the side of a model that still knows the leavers; None: no side."""
        remembered = card_or_plain(self.metric).remembered
        return None if remembered is None else (self.gap > 0) == (remembered == "higher")

    @property
    def sd(self) -> float:
        """The standard deviation of retraining within a seed, pooled over seeds; nan for R = 1."""
        if self.references.shape[1] == 1:
            return math.nan
        return math.sqrt(self.references[self.counts].var(axis=1, ddof=1).mean())

    def margin(self, margins: Margins) -> float:
        """Return the largest gap that counts as none; nan for R = 1."""
        card = card_or_plain(self.metric)
        bounded = (card.lower_bound, card.upper_bound) == (0, 1)
        return max(margins.spread * self.sd, margins.least if bounded else 0.0)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The gaps that neither of two one-sided tests at `LEVEL` rejects."""
        shown = self.counts
        limits = exchange(self.values[shown], self.references[shown], 1 - 2 * LEVEL)
        return limits.low, limits.high

    def equivalent(self, margins: Margins) -> bool:
        """Whether two one-sided tests at `LEVEL` place the gap within the margin.

        Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987.
        """
        width, (low, high) = self.margin(margins), self.interval
        return low >= -width and high <= width
