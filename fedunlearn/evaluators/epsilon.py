"""How well an attacker tells unlearned from retrained models, record by record, as an epsilon.

Functions of arrays: ``unlearned`` is [n, records] and ``retrained`` [m, records], one row a model,
with a record's logit-scaled confidence under it (`attack_scores.confidence`). An attack calls some
of these models unlearned; with its false positive rate FPR (retrained models called so) and false
negative rate FNR,

    epsilon = max(ln(1 - delta - FPR) - ln FNR, ln(1 - delta - FNR) - ln FPR, 0)

is what no (epsilon, delta)-unlearning would have allowed it. 0 is best: the attacker guesses.

Triantafillou et al. Are we making progress in unlearning? Findings from the first NeurIPS
unlearning competition. 2024, arXiv 2406.09073. Where its report and its released scorer differ we
follow the scorer, but try every threshold instead of 100 a unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Array = NDArray[np.float64]

Attack = Literal["threshold", "interval", "gaussian"]

DELTA = 1e-5
"""The delta of the competition."""

CAP = 50.0
"""Stands for an infinite epsilon: the attacker never errs."""

PEAKED = 0.01
"""If one side's values spread over so small a share of the other's, it is found out at once."""

MARGIN = 2.0
"""How far the ends of an interval may lie from where the narrower side's values end."""

ATTACKS: tuple[Attack, ...] = ("threshold", "interval", "gaussian")
"""All attacks; the scorer of the competition knows the first two."""

CHUNK = 4_000_000
"""Numbers that one table of attacks may hold; it bounds the memory."""


def epsilon(fpr: Array, fnr: Array, delta: float = DELTA) -> Array:
    """Return the epsilon of attacks with these error rates, elementwise; see the module.

    Infinite where both rates are 0. Where just one is 0 it is nan and the attack does not count:
    so few models cannot say how small that rate is.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = [
            np.log(np.maximum(1 - delta - a, 0)) - np.log(b) for a, b in ((fpr, fnr), (fnr, fpr))
        ]
        bound = np.maximum(np.fmax(*ways), 0)
    bound = np.where((fpr == 0) != (fnr == 0), np.nan, bound)
    return np.where((fpr == 0) & (fnr == 0), np.inf, bound)


def epsilon_interval(
    false_positives: int,
    negatives: int,
    false_negatives: int,
    positives: int,
    *,
    delta: float = DELTA,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Return bounds of one attack's epsilon from its counted errors, for an attack fixed before.

    Clopper-Pearson bounds of both rates at half the error each, so that both hold together; the
    upper bound is infinite where an error was never made. For the best of many attacks, chosen on
    the same models, the lower bound is too high.
    """
    level = (1 + confidence) / 2
    fp = binomtest(false_positives, negatives).proportion_ci(level)
    fn = binomtest(false_negatives, positives).proportion_ci(level)
    ways = [(fp.high, fn.high), (fp.low, fn.low)]
    with np.errstate(divide="ignore"):
        low, high = (
            max(
                float(np.log(max(1 - delta - a, 0)) - np.log(b)) if b else np.inf
                for a, b in ((x, y), (y, x))
            )
            for x, y in ways
        )
    return max(low, 0.0), max(high, 0.0)


def epsilons(
    unlearned: Array,
    retrained: Array,
    attacks: Sequence[Attack] = ATTACKS,
    delta: float = DELTA,
) -> Array:
    """Return each record's epsilon, [records] in [0, `CAP`]: that of the best of all attacks.

    - ``threshold``: values from t on are of the side whose median is larger;
    - ``interval``: values in [l, r] are of the side with the smaller range w; r lies within
      `MARGIN` of that side's largest value and l within `MARGIN` of r - w;
    - ``gaussian``: a normal distribution is fitted to either side, and values whose likelihood
      ratio is at least t are unlearned.

    All t, l and r are tried, and errors are counted on the models that the attack was chosen on:
    under equal distributions the best of so many attacks is far from 0, and further with more of
    them. Compare with retraining against retraining (`challenge.relative`). No attack left is 0.
    A side that is `PEAKED`, or a value that is no number, gives `CAP`. Raises ValueError for
    fewer than two models on a side.
    """
    unlearned, retrained = checked(unlearned), checked(retrained)
    if unlearned.shape[1] != retrained.shape[1]:
        raise ValueError("Both sides must have been asked about the same records.")
    pooled = len(unlearned) + len(retrained)
    width = max(1, CHUNK // pooled**2)
    parts = range(0, unlearned.shape[1], width)
    cut = [slice(start, start + width) for start in parts]
    bounds = [_best(unlearned[:, part], retrained[:, part], attacks, delta) for part in cut]
    return np.concatenate([np.empty(0), *bounds])


def checked(values: Array) -> Array:
    """Return one side as float64; raise ValueError unless it is [two models or more, records]."""
    side = np.asarray(values, dtype=np.float64)
    if side.ndim != 2 or len(side) < 2:
        raise ValueError("A side needs two models or more: an array [models, records].")
    return side


def _best(unlearned: Array, retrained: Array, attacks: Sequence[Attack], delta: float) -> Array:
    finite = np.isfinite(unlearned).all(axis=0) & np.isfinite(retrained).all(axis=0)
    unlearned, retrained = np.where(finite, unlearned, 0), np.where(finite, retrained, 0)
    ranges = np.ptp(unlearned, axis=0), np.ptp(retrained, axis=0)
    least, most = np.minimum(*ranges), np.maximum(*ranges)
    rates = {"threshold": _thresholds, "interval": _intervals, "gaussian": _gaussians}
    tried = [epsilon(*rates[name](unlearned, retrained), delta=delta) for name in attacks]
    best = np.fmax.reduce(np.concatenate(tried), axis=0, initial=0.0)
    best = np.where(~finite | (least < PEAKED * most), CAP, best)
    return np.minimum(best, CAP)


@dataclass(frozen=True)
class _Sorted:
    """Values of both sides in one order; a cut k stands before the k-th value."""

    values: Array
    unlearned: NDArray[np.int64]
    """[n + m + 1, records]: how many of our values lie before each cut."""
    retrained: NDArray[np.int64]
    possible: NDArray[np.bool_]
    """[n + m + 1, records]: whether a cut separates different values."""


def _sorted(unlearned: Array, retrained: Array) -> _Sorted:
    pooled = np.concatenate([unlearned, retrained])
    order = np.argsort(pooled, axis=0, kind="stable")
    values = np.take_along_axis(pooled, order, axis=0)
    mine = np.cumsum(order < len(unlearned), axis=0)
    before = np.concatenate([np.zeros_like(mine[:1]), mine])
    ends = np.ones_like(values[:1], dtype=bool)
    possible = np.concatenate([ends, values[1:] > values[:-1], ends])
    return _Sorted(values, before, np.arange(len(before))[:, None] - before, possible)


def _above(unlearned: Array, retrained: Array) -> tuple[Array, Array]:
    """Return the error rates [cuts, records] of calling unlearned what lies above a cut."""
    both = _sorted(unlearned, retrained)
    missed, taken = both.unlearned / len(unlearned), 1 - both.retrained / len(retrained)
    return _only(taken, both.possible), _only(missed, both.possible)


def _only(rates: Array, possible: NDArray[np.bool_]) -> Array:
    """Give an attack that cannot be the error rate 1: its epsilon is 0."""
    return np.where(possible, rates, 1.0)


def _thresholds(unlearned: Array, retrained: Array) -> tuple[Array, Array]:
    lower = np.median(retrained, axis=0) > np.median(unlearned, axis=0)
    flip = np.where(lower, -1.0, 1.0)
    return _above(flip * unlearned, flip * retrained)


def _intervals(unlearned: Array, retrained: Array) -> tuple[Array, Array]:
    narrow = np.ptp(unlearned, axis=0) <= np.ptp(retrained, axis=0)
    width = np.minimum(np.ptp(unlearned, axis=0), np.ptp(retrained, axis=0))
    top = np.where(narrow, unlearned.max(axis=0), retrained.max(axis=0))
    both = _sorted(unlearned, retrained)
    first, last = np.triu_indices(len(both.values))
    inside = (
        both.unlearned[last + 1] - both.unlearned[first],
        both.retrained[last + 1] - both.retrained[first],
    )
    share = inside[0] / len(unlearned), inside[1] / len(retrained)
    edge = np.full_like(both.values[:1], np.inf)
    padded = np.concatenate([-edge, both.values, edge])  # padded[k + 1] is values[k]
    right_from = np.maximum(both.values[last], top - MARGIN)
    right_to = np.minimum(padded[last + 2], top + MARGIN)
    fits = (right_from < padded[last + 2]) & (right_from <= right_to)
    fits &= right_from - width - MARGIN <= both.values[first]
    fits &= right_to - width + MARGIN > padded[first]
    fits &= both.possible[first] & both.possible[last + 1]
    taken, missed = np.where(narrow, share[1], share[0]), 1 - np.where(narrow, share[0], share[1])
    return _only(taken, fits), _only(missed, fits)


def _gaussians(unlearned: Array, retrained: Array) -> tuple[Array, Array]:
    def density(side: Array, values: Array) -> Array:
        spread = side.std(axis=0, ddof=1)
        return np.asarray(-(((values - side.mean(axis=0)) / spread) ** 2) / 2 - np.log(spread))

    with np.errstate(divide="ignore", invalid="ignore"):
        mine, other = (
            density(unlearned, v) - density(retrained, v) for v in (unlearned, retrained)
        )
    fitted = np.isfinite(mine).all(axis=0) & np.isfinite(other).all(axis=0)
    return _above(np.where(fitted, mine, 0), np.where(fitted, other, 0))
