"""The score of the NeurIPS 2023 unlearning competition: functions of arrays.

    H(record) = 2 / 2^n, n = 1 + floor(epsilon / 0.5): 1, 1/2, 1/4 … and 0 past the last bin
    F = mean_records H: forgetting quality, higher is better
    score = F * RA_unlearned / RA_retrained * TA_unlearned / TA_retrained, 0 if it took too long

epsilon is how well an attacker tells unlearned from retrained models by what they say on one record
of the leavers (`epsilon`, `fitted_epsilon`); RA and TA are accuracies on retained and test records.

Triantafillou et al. Are we making progress in unlearning? Findings from the first NeurIPS
unlearning competition. 2024, arXiv 2406.09073.

Pitfalls. Perfection does not score 1: attacks are chosen on the models that they are counted on,
and two sets of retrained models score about 0.17 against each other. So read `Relative`, which
divides by just that. And F depends on the number of models and on the attacks: numbers with other
ones, such as published ones, do not compare.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import t

from fedunlearn import randomness
from fedunlearn.evaluators.epsilon import Array, epsilons
from fedunlearn.randomness import Stream
from fedunlearn.results import RETRAIN_AGAIN

BIN = 0.5
"""Width of a bin of epsilon."""

LARGEST_COST_SHARE = 0.2
"""The competition scored 0 what took more than this share of retraining's time."""

Estimate = Callable[[Array, Array], Array]
"""Epsilons [records] from unlearned and retrained confidences, each [models, records]."""


def bins(models: int) -> int:
    """Return how many bins so many models on a side can fill: ``2 ceil(ln(models - 1))``.

    That is what the competition's scorer does, with 14 for its 512 models; its report says 13.
    Raises ValueError for fewer than three models.
    """
    if models < 3:
        raise ValueError("The score needs three models on a side, or more.")
    return 2 * math.ceil(math.log(models - 1))


def points(epsilon: Array, models: int) -> Array:
    """Return H of each epsilon at least 0, in [0, 1]; 1 is best. ``models`` are on each side."""
    number = 1 + np.floor(np.asarray(epsilon) / BIN)
    return np.where(number <= bins(models), 2.0 * 0.5**number, 0.0)


def quality(unlearned: Array, retrained: Array, estimate: Estimate = epsilons) -> float:
    """Return F of [n, records] unlearned against [m, records] retrained confidences, in [0, 1]."""
    models = min(len(unlearned), len(retrained))
    return float(points(estimate(unlearned, retrained), models).mean())


def final_score(
    forgetting: float,
    retained: tuple[float, float],
    test: tuple[float, float],
    cost: float,
    *,
    gate: float = LARGEST_COST_SHARE,
    capped: bool = False,
) -> float:
    """Return ``F * RA_u / RA_r * TA_u / TA_r``, at least 0; 0 where ``cost`` exceeds ``gate``.

    ``forgetting`` is F, ``retained`` and ``test`` are mean accuracies (unlearned, retrained),
    ``cost`` is the unlearner's share of retraining's. The competition rewards ratios above 1:
    ``capped`` counts them as 1, since to beat retraining is not to forget. nan where a retrained
    accuracy is 0.
    """
    if cost > gate:
        return 0.0
    ratios = [ours / theirs if theirs else math.nan for ours, theirs in (retained, test)]
    return forgetting * math.prod(min(ratio, 1.0) if capped else ratio for ratio in ratios)


@dataclass(frozen=True)
class Relative:
    """F of unlearning, and as a share of what retraining scores against itself."""

    quality: float
    """F against retrained models."""
    ceiling: float
    """F of retrained models against other retrained models: what perfection looks like."""
    ratio: float
    """The first by the second: 1 cannot be told from retraining, less has not forgotten so well."""
    low: float
    high: float
    """Bounds of the ratio."""
    epsilon: float
    """The median of all records' epsilons."""
    models: int
    """How many models stand on the smaller side of every comparison."""


def relative(
    unlearned: Mapping[str, Array],
    references: Array,
    estimate: Estimate = epsilons,
    *,
    confidence: float = 0.95,
    replicates: int = 100,
    seed: int = 0,
) -> dict[str, Relative]:
    """Compare strategies with retrained models, and those with each other as `RETRAIN_AGAIN`.

    ``unlearned[name]`` is [seeds, records] and ``references`` [sets, seeds, records]: each set has
    one retrained model a seed, and the first one shares its seed's first model with the strategies.
    No two models of one seed and one first model are ever set against each other, for what they
    share would pass for forgetting. With several sets, strategies stand against all but the first,
    and the ceiling is the mean over all pairs of sets. With one set, the seeds are halved.

    The interval is a bootstrap over seeds, which are what varies: records are the same for all of
    them. Resampled models come twice and raise every epsilon, so only the spread of the resampled
    ``ln ratio`` is used: ``ratio exp(± t sd)``, with t of ``seeds - 1`` degrees of freedom. Where
    a ratio is 0, the resampled ratios' quantiles stand instead. Raises ValueError where fewer than
    three models would stand on a side.
    """
    seeds = references.shape[1]
    halves = [np.arange(seeds)[0::2], np.arange(seeds)[1::2]]
    parts = halves if len(references) == 1 else [np.arange(seeds)]
    models = min(len(part) for part in parts)
    bins(models)
    rng = randomness.rng(seed, Stream.BOOTSTRAP)
    draws = [[rng.choice(part, len(part)) for part in parts] for _ in range(replicates)]

    among = _among(references, parts)
    drawn = [_among(references, rows) for rows in draws]
    ceilings = [_mean_quality(each, estimate) for each in [among, *drawn]]
    critical = float(t.ppf((1 + confidence) / 2, seeds - 1))
    middle = float(np.median([estimate(*pair) for pair in among]))
    best = Relative(ceilings[0], ceilings[0], 1.0, math.nan, math.nan, middle, models)
    rated = {RETRAIN_AGAIN: best}
    for name, ours in unlearned.items():
        pairs = _against(ours, references, parts)
        middle = float(np.median([estimate(*pair) for pair in pairs]))
        drawn = [_against(ours, references, rows) for rows in draws]
        qualities = [_mean_quality(each, estimate) for each in [pairs, *drawn]]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.array(qualities) / np.array(ceilings)
        low, high = _interval(ratios, critical, confidence)
        ratio = float(ratios[0])
        rated[name] = Relative(qualities[0], ceilings[0], ratio, low, high, middle, models)
    return rated


def _interval(ratios: Array, critical: float, confidence: float) -> tuple[float, float]:
    """Return bounds from the ratio itself, which comes first, and from resampled ones.

    Without numbers are those resamples, rare but with few seeds, in which one model is all of a
    side, so that retraining scores 0 against itself; they are left out.
    """
    resampled = ratios[1:][np.isfinite(ratios[1:])]
    if len(resampled) < 2 or not math.isfinite(ratios[0]):
        return math.nan, math.nan
    if ratios[0] > 0 and (resampled > 0).all():
        factor = math.exp(critical * float(np.std(np.log(resampled), ddof=1)))
        return float(ratios[0]) / factor, float(ratios[0]) * factor
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


Rows = Sequence[np.ndarray]

Pairs = Sequence[tuple[Array, Array]]


def _against(ours: Array, references: Array, rows: Rows) -> Pairs:
    if len(rows) == 2:
        return [(ours[a], references[0][b]) for a, b in (rows, rows[::-1])]
    return [(ours[rows[0]], others[rows[0]]) for others in references[1:]]


def _among(references: Array, rows: Rows) -> Pairs:
    if len(rows) == 2:
        return [(references[0][rows[0]], references[0][rows[1]])]
    return [(a[rows[0]], b[rows[0]]) for a, b in combinations(references, 2)]


def _mean_quality(pairs: Pairs, estimate: Estimate) -> float:
    return float(np.mean([quality(*pair, estimate) for pair in pairs]))
