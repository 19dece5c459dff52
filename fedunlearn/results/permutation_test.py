"""Whether some models could be exchanged for others: an exact test on arrays, of any distribution.

Within a seed, a model that forgot perfectly is exchangeable with the retrained ones: any of the
R + 1 models may be the strategy's. docs/verdicts.md says why this test.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedunlearn import randomness
from fedunlearn.randomness import Stream

Values = npt.NDArray[np.float64]

CONFIDENCE = 0.95
"""Of a single verdict."""

MOST = 2**17
"""So many arrangements are gone through; of more, so many are drawn."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What exchanging a strategy's models for retrained ones of the same seed tells."""

    gap: float
    """``mean_s (y_s - mean_r x_sr)``."""
    low: float
    """The lower end of the interval of the gap; -inf where there are too few models."""
    high: float
    p_value: float
    """Share of arrangements whose gap is at least as large, in either direction."""


def exchange(values: Values, references: Values, confidence: float = CONFIDENCE) -> Exchanged:
    """Test whether ``values`` y [S] could be references as well, x [S, R] of the same seeds.

    In each of S seeds any of the R + 1 models may stand for the strategy: (R + 1)^S arrangements,
    equally likely if y is exchangeable with x. ``p_value`` is the share of them with
    ``|gap| >= |observed gap|``, so that ``P(p <= a) <= a`` whatever the distribution, ties
    included. The interval holds every shift d for which ``y - d`` would not be rejected at
    ``1 - confidence``: it is the exact inversion of the test.
    """
    together = np.column_stack([values, references])
    seeds, models = together.shape
    # The gap of each model, if it were the strategy's, and how that moves with a shift of y.
    as_chosen = (models * together - together.sum(axis=1, keepdims=True)) / (models - 1)
    chosen = arrangements(seeds, models)
    gaps = as_chosen[np.arange(seeds), chosen].mean(axis=1)
    slopes = np.where(chosen == 0, -1.0, 1 / (models - 1)).mean(axis=1)
    gap, rounding = float(gaps[0]), 1e-9 * float(np.abs(as_chosen).max())
    p_value = float((np.abs(gaps) >= abs(gap) - rounding).mean())
    # Arrangement k is as extreme as the observed one at d = gap + u while |a + b u| >= |u|.
    at_gap = gaps + slopes * gap
    always = np.isclose(np.abs(slopes), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([at_gap / (1 - slopes), -at_gap / (1 + slopes)])
    rejected = math.floor((1 - confidence) * len(gaps) + 1e-9)
    lows = np.sort(np.where(always, -np.inf, ends.min(axis=0)))
    highs = np.sort(np.where(always, np.inf, ends.max(axis=0)))[::-1]
    return Exchanged(gap, gap + float(lows[rejected]), gap + float(highs[rejected]), p_value)


def enough(seeds: int, references: int, confidence: float = CONFIDENCE) -> bool:
    """Whether so many retrained models a seed can tell a difference from chance at all."""
    least = (2 if references == 1 else 1) / (references + 1.0) ** seeds
    return references > 0 and least <= 1 - confidence + 1e-9


def fewest_references(seeds: int) -> int:
    """Return the least number of references with which so many seeds are `enough`."""
    return next(n for n in range(1, 20) if enough(seeds, n))


def arrangements(seeds: int, models: int, most: int = MOST) -> npt.NDArray[np.int64]:
    """Return which of ``models`` stands for the strategy in each of ``seeds``, [arrangements, S].

    All there are, or ``most`` of them, always the same; the first row is as it was observed:
    model 0 in every seed.
    """
    if models**seeds <= most:
        return np.indices((models,) * seeds).reshape(seeds, -1).T
    drawn = randomness.rng(0, Stream.ARRANGEMENTS, seeds, models).integers(
        models, size=(most, seeds)
    )
    drawn[0] = 0
    return drawn
