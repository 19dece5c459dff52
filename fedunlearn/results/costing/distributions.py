"""How a quantity differs from device to device, by its quantile function."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from fedunlearn import checks

Floats = npt.NDArray[np.float64]


class Distribution(Protocol):
    """A positive quantity that differs from device to device."""

    def at(self, shares: Floats) -> Floats:
        """Return the value that a share of all devices stays below, for ``shares`` in (0, 1)."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The same ``value`` for all devices."""

    value: float

    def __post_init__(self) -> None:
        """Raise `Refused` unless ``value`` is positive."""
        checks.number("value of devices that are all alike", self.value, above=0)

    def at(self, shares: Floats) -> Floats:
        """Return ``value``, as often as there are shares."""
        return np.full(shares.shape, float(self.value))


@dataclass(frozen=True, slots=True)
class Lognormal:
    """``median * exp(sigma z)`` with z standard normal.

    The mean is ``median * exp(sigma**2 / 2)``; nine in ten devices lie within a factor of
    ``exp(1.645 sigma)`` of the median.
    """

    median: float
    sigma: float

    def __post_init__(self) -> None:
        """Raise `Refused` for a median that is not positive or a negative ``sigma``."""
        checks.number("median of a lognormal distribution of devices", self.median, above=0)
        checks.number("sigma of a lognormal distribution of devices", self.sigma, at_least=0)

    def at(self, shares: Floats) -> Floats:
        """Return the quantiles, as ``scipy.stats.lognorm(sigma, scale=median).ppf``."""
        quantiles: Floats = self.median * np.exp(self.sigma * ndtri(shares))
        return quantiles
