"""Epsilon from normal distributions fitted to few models: smooth where counting errors is not.

With 16 to 64 models a counted error rate is a multiple of a few per cent, and the best of many
attacks is mostly chance (see `epsilon`). Here a record's confidences are taken for normal on either
side; the error rates of all likelihood-ratio attacks then follow from two means and two standard
deviations, and no models are spent on choosing among them. It sees shifts and changes of spread,
not two humps. The idea is that of U-LiRA: Hayes, Shumailov, Triantafillou, Khalifa, Papernot.
Inexact unlearning needs more careful evaluations to avoid a false sense of privacy. SaTML 2025,
arXiv 2403.01218.
"""

from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from fedunlearn import randomness
from fedunlearn.evaluators.epsilon import CAP, DELTA, PEAKED, Array, checked
from fedunlearn.randomness import Stream

POINTS = np.linspace(-6, 6, 65)
"""Where attacks may draw the line, in standard deviations from either mean."""

NULL_DRAWS = 4000
"""Records that are drawn to learn the bias: it is known to about 0.01."""


def gaussian_epsilon(
    unlearned: tuple[Array, Array],
    retrained: tuple[Array, Array],
    delta: float = DELTA,
    floor: float = 0.0,
) -> Array:
    """Return the epsilon between normal distributions, [records]; 0 is best.

    ``unlearned`` and ``retrained`` are means and standard deviations above 0, each [records]. It
    is the largest epsilon of all attacks that call unlearned what has a likelihood ratio of t or
    more; no other attack does better (Neyman, Pearson). Both error rates are at least ``floor``.
    Without it, and for equal spreads s apart by d, it solves

        delta = Phi(d / 2s - epsilon s / d) - e^epsilon Phi(-d / 2s - epsilon s / d)

    (Balle, Wang. Improving the Gaussian mechanism for differential privacy. ICML 2018, arXiv
    1805.06530), to within about 1 %, which the spacing of `POINTS` leaves.
    """
    (mean, spread), (origin, unit) = unlearned, retrained
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shift, ratio = (mean - origin) / unit, spread / unit
        points = POINTS[:, None]
        first = np.concatenate(np.broadcast_arrays(points + 0 * shift, shift + ratio * points))
        # The likelihood ratio is a parabola: equal at two points, whose sum is known.
        both = np.where(ratio == 1, np.inf * np.sign(shift), 2 * shift / (1 - ratio**2))
        second = both - first
        low, high = np.minimum(first, second), np.maximum(first, second)
        inside = ndtr((high - shift) / ratio) - ndtr((low - shift) / ratio)
        other = ndtr(high) - ndtr(low)
        rates = [(other, 1 - inside), (1 - inside, other), (1 - other, inside), (inside, 1 - other)]
        ways = [
            np.log(np.maximum(1 - delta - np.maximum(a, floor), 0)) - np.log(np.maximum(b, floor))
            for a, b in rates
        ]
    best = np.fmax.reduce(np.concatenate(ways), axis=0, initial=0.0)
    return np.asarray(np.minimum(best, CAP))


def raw_epsilons(unlearned: Array, retrained: Array, delta: float = DELTA) -> Array:
    """Return each record's fitted epsilon, [records], at least 0; biased upwards.

    ``unlearned`` is [n, records] and ``retrained`` [m, records], as for `epsilon.epsilons`. No
    error rate is taken for smaller than 1 / min(n, m), so that it does not exceed
    ln(min(n, m) - 1) by more than chance lets it: no tail is believed that nobody has seen.
    A side that is `epsilon.PEAKED`, or a value that is no number, gives `epsilon.CAP`.
    """
    unlearned, retrained = checked(unlearned), checked(retrained)
    finite = np.isfinite(unlearned).all(axis=0) & np.isfinite(retrained).all(axis=0)
    unlearned, retrained = np.where(finite, unlearned, 0), np.where(finite, retrained, 0)
    mine, other = ((side.mean(axis=0), side.std(axis=0, ddof=1)) for side in (unlearned, retrained))
    bounds = gaussian_epsilon(mine, other, delta, floor=1 / min(len(unlearned), len(retrained)))
    ranges = np.ptp(unlearned, axis=0), np.ptp(retrained, axis=0)
    least, most = np.minimum(*ranges), np.maximum(*ranges)
    constant = (most == 0) & (unlearned[0] != retrained[0])
    return np.where(~finite | constant | (least < PEAKED * most), CAP, bounds)


@lru_cache(maxsize=64)
def bias(unlearned: int, retrained: int, delta: float = DELTA) -> float:
    """Return the mean of `raw_epsilons` over records whose two distributions are equal and normal.

    ``unlearned`` and ``retrained`` count models. Neither mean nor spread matters, so that one
    simulation of standard normals with a seed of its own tells it for all data.
    """
    rng = randomness.rng(0, Stream.NULL_MODELS, unlearned, retrained)
    mine, other = (rng.standard_normal((models, NULL_DRAWS)) for models in (unlearned, retrained))
    return float(raw_epsilons(mine, other, delta).mean())


def fitted_epsilons(unlearned: Array, retrained: Array, delta: float = DELTA) -> Array:
    """Return `raw_epsilons` less their `bias`, not below 0: [records]; 0 is best.

    Under equal normal distributions about half of the records are at 0. The correction is exact
    on average there and too much elsewhere, for the bias shrinks as distributions part: what is
    left is rather too small an epsilon than too large.
    """
    raw = raw_epsilons(unlearned, retrained, delta)
    less = np.maximum(raw - bias(len(unlearned), len(retrained), delta), 0)
    return np.where(raw >= CAP, CAP, less)
