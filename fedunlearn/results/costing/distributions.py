"""How a quantity differs from device to device, by its quantile function."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fedunlearn import checks
from fedunlearn.checks import NotNegative, Positive

Floats = npt.NDArray[np.float64]


class Distribution(Protocol):
    """A positive quantity that differs from device to device."""

    def at(self, shares: Floats) -> Floats:
        """Return the value that a share of all devices stays below, for ``shares`` in (0, 1)."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The same ``value`` for all devices."""

    value: Positive
    """What every device has."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def at(self, shares: Floats) -> Floats:
        """Return ``value``, as often as there are shares."""
        return np.full(shares.shape, float(self.value))


@dataclass(frozen=True, slots=True)
class Lognormal:
    """``median * exp(sigma z)`` with z standard normal.

    The mean is ``median * exp(sigma**2 / 2)``; nine in ten devices lie within a factor of
    ``exp(1.645 sigma)`` of the median.
    """

    median: Positive
    """What half of the devices do not reach."""
    sigma: NotNegative
    """Standard deviation of the logarithm."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def at(self, shares: Floats) -> Floats:
        """Return the quantiles, as ``scipy.stats.lognorm(sigma, scale=median).ppf``."""
        from scipy.special import ndtri  # a third of a second that every run would wait for

        quantiles: Floats = self.median * np.exp(self.sigma * ndtri(shares))
        return quantiles
