"""How well scores tell members from non-members, with an interval for every number.

Functions of arrays: ``members`` [n] and ``others`` [m] are scores of which higher ones should be
the members'. Whatever an attack fits (Gaussians, thresholds) it must have fitted on other records
or other models than these; nothing here fits what it judges, but for the one number that says so.
A statistic of scores that are not numbers is nan. Raises ValueError where either side is empty.

Intervals take records for independent draws. Those of one model share its accidents: where the two
sides are the same records under different models, use `auc_of_models` and its like.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq
from scipy.stats import binomtest, norm, t
from sklearn.metrics import roc_curve

from fedunlearn import randomness
from fedunlearn.evaluators import scores
from fedunlearn.randomness import Stream

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its confidence interval."""

    value: float
    low: float
    high: float


EDGE = 1e-12
"""So far from 0 and 1 the ends of intervals are sought."""

UNKNOWN = Estimate(math.nan, math.nan, math.nan)
"""Of scores that are not numbers."""


def auc(members: npt.ArrayLike, others: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Return the area under the ROC curve, ``P(s > t) + P(s = t) / 2``, with its interval.

    0.5 is chance, 1 means that a threshold separates the two, below 0.5 that the score points the
    wrong way. The interval holds all areas A with ``|A - area| <= z sqrt(V(A))``,
    ``V(A) = A (1 - A) [1 + N (1 - A) / (2 - A) + N A / (1 + A)] / (n m)``, ``N = (n + m) / 2 - 1``:
    at A = 0.5 the exact variance without ties, and never empty, even at area 1 or for one member.

    Newcombe. Confidence intervals for an effect size measure based on the Mann-Whitney statistic,
    part 2. Statistics in Medicine 2006, method 5.
    """
    a, b = _sides(members, others)
    if not _numbers(a, b):
        return UNKNOWN
    area = _area(a, b)
    z, pairs, more = norm.ppf((1 + confidence) / 2), len(a) * len(b), (len(a) + len(b)) / 2 - 1

    def beyond(guess: float) -> float:
        factor = 1 + more * (1 - guess) / (2 - guess) + more * guess / (1 + guess)
        return float((guess - area) ** 2 - z**2 * guess * (1 - guess) * factor / pairs)

    # 0 and 1 themselves have no variance, so that they always solve it where they are the area.
    low = brentq(beyond, 0, min(area, 1 - EDGE)) if area > 0 else 0.0
    high = brentq(beyond, max(area, EDGE), 1) if area < 1 else 1.0
    return Estimate(area, float(low), float(high))


def auc_of_models(
    target: npt.ArrayLike, others: npt.ArrayLike, confidence: float = 0.95
) -> Estimate:
    """Return the area of one model's scores against those of J other models, same records.

    ``target`` is [n], ``others`` [J, n]; the area is that of n against J n scores, with the
    interval of `_between_models` around it.
    """
    return _between_models(_area, 0.5, target, others, confidence)


def advantage_of_models(
    target: npt.ArrayLike, others: npt.ArrayLike, seed: int = 0, confidence: float = 0.95
) -> Estimate:
    """Return the `advantage` of one model's scores [n] over those of J others [J, n].

    The interval is that of `_between_models`. It is nan for fewer than two records.
    """
    if np.asarray(target).size < 2:
        return UNKNOWN
    return _between_models(
        lambda a, b: advantage(a, b, seed).value, 0, target, others, confidence, least=-1
    )


def tpr_at_of_models(
    target: npt.ArrayLike, others: npt.ArrayLike, fpr: float, confidence: float = 0.95
) -> Estimate:
    """Return `tpr_at` of one model's scores [n] among those of J others [J, n].

    The interval is that of `_between_models`.
    """
    size = np.asarray(others).size
    chance = (math.floor(fpr * size) + 1) / (size + 1)
    return _between_models(lambda a, b: tpr_at(a, b, fpr).value, chance, target, others, confidence)


def _between_models(
    statistic: Callable[[Floats, Floats], float],
    chance: float,
    target: npt.ArrayLike,
    others: npt.ArrayLike,
    confidence: float,
    least: float = 0,
) -> Estimate:
    """Return a statistic of one model against J others, with an interval over models.

    None of the models fitted the attack. The interval says how far the statistic of one more model
    like the others would be from ``chance``: with A_j that of model j against all others,
    ``A +- t_{J-1} s sqrt(1 + 1 / J)``, ``s^2 = (J - 1) / J^2 sum_j (A_j - chance)^2``, within
    ``least`` and 1. Intervals over records would be too short, since the n records of a model rise
    and fall together. Raises ValueError for fewer than two other models.
    """
    mine, theirs = np.asarray(target, np.float64), np.asarray(others, np.float64)
    count = len(theirs)
    if count < 2:
        raise ValueError("A spread between models needs two of them to compare with.")
    a, b = _sides(mine, theirs.ravel())
    if not _numbers(a, b):
        return UNKNOWN
    value = statistic(a, b)
    each = [statistic(theirs[j], np.delete(theirs, j, axis=0).ravel()) for j in range(count)]
    spread = math.sqrt((count - 1) / count**2 * sum((one - chance) ** 2 for one in each))
    reach = t.ppf((1 + confidence) / 2, count - 1) * spread * math.sqrt(1 + 1 / count)
    return Estimate(value, float(max(least, value - reach)), float(min(1, value + reach)))


def advantage_in_sample(members: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """Return ``max_t TPR(t) - FPR(t)`` over the very records that the threshold is chosen on.

    It is what many papers print, and never below 0: for scores that tell nothing it is about
    ``sqrt(pi / 8) sqrt(1 / n + 1 / m)``, 0.09 for 100 on either side. See `advantage`.
    """
    a, b = _sides(members, others)
    if not _numbers(a, b):
        return math.nan
    fpr, tpr, _ = roc_curve(_truth(a, b), np.concatenate([a, b]))
    return float((tpr - fpr).max())


def advantage(
    members: npt.ArrayLike, others: npt.ArrayLike, seed: int = 0, confidence: float = 0.95
) -> Estimate:
    """Return ``TPR - FPR`` at thresholds that were chosen on other records; 0 is chance.

    Either side is cut in two at random (a function of ``seed``). The threshold that is best on the
    one half judges the other, and the other way round, so that every record is judged once, and
    never by a threshold that it had a part in. It may be negative. The interval is that of a
    difference of proportions (Newcombe 1998, method 10). It is nan for fewer than two records on
    a side.
    """
    a, b = _sides(members, others)
    if not _numbers(a, b) or min(len(a), len(b)) < 2:
        return UNKNOWN
    rng = randomness.rng(seed, Stream.THRESHOLDS)
    halves = [np.array_split(rng.permutation(side), 2) for side in (a, b)]
    hits = alarms = 0
    for chosen, judged in ((0, 1), (1, 0)):
        threshold = _best(halves[0][chosen], halves[1][chosen])
        hits += int((halves[0][judged] >= threshold).sum())
        alarms += int((halves[1][judged] >= threshold).sum())
    true, false = _share(hits, len(a), confidence), _share(alarms, len(b), confidence)
    gain = true.value - false.value
    low = gain - math.hypot(true.value - true.low, false.high - false.value)
    high = gain + math.hypot(true.high - true.value, false.value - false.low)
    return Estimate(gain, low, high)


def tpr_at(
    members: npt.ArrayLike, others: npt.ArrayLike, fpr: float, confidence: float = 0.95
) -> Estimate:
    """Return the share of members above the threshold that at most ``fpr`` of the others reach.

    It is the ROC curve's greatest TPR at a rate of false positives of at most ``fpr``. Chance is
    ``(floor(fpr m) + 1) / (m + 1)``, which is near ``fpr`` only for many others: see `unresolved`.
    The interval is Clopper and Pearson's for the members, with the threshold taken as given.

    Carlini et al. Membership inference attacks from first principles. IEEE S&P 2022.
    """
    a, b = _sides(members, others)
    if not _numbers(a, b):
        return UNKNOWN
    false, true, _ = roc_curve(_truth(a, b), np.concatenate([a, b]), drop_intermediate=False)
    hits = round(float(true[false <= fpr].max()) * len(a))
    interval = binomtest(hits, len(a)).proportion_ci(confidence, method="exact")
    return Estimate(hits / len(a), float(interval.low), float(interval.high))


def _area(members: Floats, others: Floats) -> float:
    return scores.auc(torch.from_numpy(members), torch.from_numpy(others))


def _best(members: Floats, others: Floats) -> float:
    """Return where TPR - FPR is greatest, half way to the next lower score; inf for nowhere."""
    scores = np.concatenate([members, others])
    fpr, tpr, thresholds = roc_curve(_truth(members, others), scores)
    best = float(thresholds[(tpr - fpr).argmax()])
    below = scores[scores < best]
    return (best + float(below.max())) / 2 if below.size and math.isfinite(best) else best


def _share(count: int, total: int, confidence: float) -> Estimate:
    interval = binomtest(count, total).proportion_ci(confidence, method="wilson")
    return Estimate(count / total, float(interval.low), float(interval.high))


def _truth(members: Floats, others: Floats) -> npt.NDArray[Any]:
    return np.repeat([1, 0], [len(members), len(others)])


def _numbers(*sides: Floats) -> bool:
    return not any(np.isnan(side).any() for side in sides)


def _sides(members: npt.ArrayLike, others: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(members, np.float64), np.asarray(others, np.float64)
    if not len(a) or not len(b):
        raise ValueError("An attack is judged on members and on others; one side is empty.")
    return a, b
