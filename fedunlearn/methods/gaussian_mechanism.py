"""The Gaussian mechanism: how much noise makes two models hard to tell apart.

A model w [d] is released as ``w + N(0, sigma^2 I)``. If another one lies within a ``bound`` B of it
in the Euclidean norm, nobody can tell whose noisy copy was released, up to (epsilon, delta):
``P[A] <= e^epsilon P'[A] + delta`` for every event A, and with P and P' exchanged. The noise knows
nothing of how B was found: if the models are further apart, the numbers here mean nothing.
"""

import math
from collections.abc import Callable
from typing import Literal

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from fedunlearn import checks


def classical_sigma(bound: float, epsilon: float, delta: float) -> float:
    """Return ``B sqrt(2 ln(1.25 / delta)) / epsilon``.

    A theorem for epsilon of at most 1 only; many papers use it beyond, where the noise may be too
    small: `analytic_delta` says what it is worth there.

    Dwork, Roth. The algorithmic foundations of differential privacy. 2014, theorem A.1.
    """
    _positive(bound=bound, epsilon=epsilon)
    return bound * _factor(delta) / epsilon


def classical_epsilon(bound: float, sigma: float, delta: float) -> float:
    """Return the epsilon of which ``sigma`` is the `classical_sigma`; no theorem where above 1."""
    _positive(bound=bound, sigma=sigma)
    return bound * _factor(delta) / sigma


def analytic_delta(bound: float, sigma: float, epsilon: float) -> float:
    """Return the least delta that noise ``sigma`` gives at ``epsilon``, of 0 or more.

    ``Phi(B / (2 s) - epsilon s / B) - e^epsilon Phi(-B / (2 s) - epsilon s / B)`` with s the noise
    and Phi the normal distribution function: no formula can do with less noise.

    Balle, Wang. Improving the Gaussian mechanism for differential privacy: analytical calibration
    and optimal denoising. ICML 2018, arXiv 1805.06530, theorem 8.
    """
    _positive(bound=bound, sigma=sigma)
    checks.number("epsilon", epsilon, at_least=0)
    half, drift = bound / (2 * sigma), epsilon * sigma / bound
    # e^epsilon alone may overflow
    return float(ndtr(half - drift) - math.exp(epsilon + log_ndtr(-half - drift)))


def analytic_sigma(bound: float, epsilon: float, delta: float) -> float:
    """Return the least noise that gives (``epsilon``, ``delta``), for any epsilon above 0."""
    _positive(bound=bound, epsilon=epsilon)
    _probability(delta)
    # The noise is proportional to the bound.
    return bound * _crossing(lambda sigma: analytic_delta(1, sigma, epsilon) - delta)


def analytic_epsilon(bound: float, sigma: float, delta: float) -> float:
    """Return the least epsilon, 0 or more, that noise ``sigma`` gives at ``delta``."""
    _probability(delta)
    if analytic_delta(bound, sigma, 0) <= delta:
        return 0.0
    return _crossing(lambda epsilon: analytic_delta(bound, sigma, epsilon) - delta)


def renyi_sigma(bound: float, epsilon: float, delta: float) -> float:
    """Return ``B / (sqrt 2 (sqrt(L + epsilon) - sqrt L))`` with ``L = ln(1 / delta)``.

    A theorem for every epsilon above 0, with more noise than `analytic_sigma`. Between the noisy
    models the Renyi divergence of order a is ``a B^2 / (2 sigma^2)``, which gives epsilon at delta
    of ``a B^2 / (2 sigma^2) + L / (a - 1)``; the best a leaves `renyi_epsilon`, inverted here.

    Mironov. Renyi differential privacy. CSF 2017, arXiv 1702.07476, propositions 3 and 7. The form
    is FedRecovery's (Zhang et al., IEEE TIFS 2023, equations 6 and 25, delta called beta).
    """
    _positive(bound=bound, epsilon=epsilon)
    _probability(delta)
    log = math.log(1 / delta)
    # epsilon / (sqrt(L + epsilon) + sqrt L) is the difference of the roots without cancellation
    return bound * (math.sqrt(log + epsilon) + math.sqrt(log)) / (math.sqrt(2) * epsilon)


def renyi_epsilon(bound: float, sigma: float, delta: float) -> float:
    """Return ``B^2 / (2 sigma^2) + (B / sigma) sqrt(2 ln(1 / delta))``; see `renyi_sigma`."""
    _positive(bound=bound, sigma=sigma)
    _probability(delta)
    ratio = bound / sigma
    return ratio**2 / 2 + ratio * math.sqrt(2 * math.log(1 / delta))


Mechanism = Literal["analytic", "classical", "renyi"]
"""The names of `NOISE_MECHANISMS`: the least noise for any epsilon (Balle and Wang), a formula for
one up to 1 (Dwork and Roth), and a formula for any (FedRecovery's, by Renyi divergences)."""

NOISE_MECHANISMS: dict[Mechanism, Callable[[float, float, float], float]] = {
    "analytic": analytic_sigma,
    "classical": classical_sigma,
    "renyi": renyi_sigma,
}
"""How much noise ``(bound, epsilon, delta)`` asks for."""


def _crossing(decreasing: Callable[[float], float]) -> float:
    """Return where a decreasing function of a positive number crosses 0."""
    low = high = 1.0
    while decreasing(low) < 0:
        low /= 2
    while decreasing(high) > 0:
        high *= 2
    return float(brentq(decreasing, low, high, xtol=1e-14, rtol=1e-13))


def _factor(delta: float) -> float:
    _probability(delta)
    return math.sqrt(2 * math.log(1.25 / delta))


def _positive(**values: float) -> None:
    for name, value in values.items():
        checks.number(name, value, above=0)


def _probability(delta: float) -> None:
    checks.number("delta", delta, above=0, below=1)
