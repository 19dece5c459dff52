"""Whether a strategy's models can be told from retrained ones, on all measures at once.

The maximum-statistic permutation test of Westfall and Young (Resampling-Based Multiple Testing,
Wiley 1993): one p-value a strategy, and for each measure one that allows for all the others.
"""

from collections.abc import Mapping

import numpy as np

from fedunlearn.checks import Refused
from fedunlearn.results.permutation_test import MOST, Values, arrangements

LEVEL = 0.05
"""How often a retrained model is told apart from retrained ones, at most."""

ROUNDING = 1e-9
"""Sums of the same numbers in another order are taken for equal up to this."""


def told_apart(
    values: Mapping[str, Values], references: Mapping[str, Values], most: int = MOST
) -> tuple[float, dict[str, float]]:
    """Return the p-value of ``values[m]`` [S] being ``references[m]`` [S, R] as well, and each m's.

    In each of S seeds any of the R + 1 models may stand for the strategy: (R + 1)^S arrangements
    a, equally likely if it forgot perfectly, and the same for all measures m. With::

        gap_m(a) = mean_s (y_s - mean_r x_sr)    of the model that a chooses in each seed
        z_m(a) = |gap_m(a)| / rms_a gap_m        T(a) = max_m z_m(a)

    ``p`` is the share of arrangements with T(a) >= T(observed), and the adjusted p-value of m
    their share with T(a) >= z_m(observed). So P(p <= q) <= q whatever the distribution and however
    measures hang together, and p is the least of the adjusted ones.

    Of more arrangements than ``most``, so many are drawn, always the same ones.
    A seed in which a measure is no number for some model does not count for it. A measure that is
    the same for all models of each seed tells nothing: its p-value is 1, and without another one p
    is 1 as well. Raises `Refused` where shapes do not fit.
    """
    _check(values, references)
    if not values:
        return 1.0, {}
    seeds, others = next(iter(references.values())).shape
    models = others + 1
    chosen = arrangements(seeds, models, most)
    rows = np.arange(seeds)
    sizes_by_metric: dict[str, Values] = {}
    for metric, mine in values.items():
        together = np.column_stack([mine, references[metric]])
        counts = np.isfinite(together.sum(axis=1))
        if not counts.any():
            continue
        together = np.where(counts[:, None], together, 0)
        as_chosen = (models * together - together.sum(axis=1, keepdims=True)) / (models - 1)
        gaps = np.abs(as_chosen[rows, chosen].sum(axis=1))
        rms = np.sqrt(np.square(gaps).mean())
        if rms > ROUNDING * np.abs(together).max() * counts.sum():
            sizes_by_metric[metric] = gaps / rms
    if not sizes_by_metric:
        return 1.0, dict.fromkeys(values, 1.0)
    largest = np.max(list(sizes_by_metric.values()), axis=0)
    adjusted = dict.fromkeys(values, 1.0)
    for metric, sizes in sizes_by_metric.items():
        adjusted[metric] = float((largest >= sizes[0] * (1 - ROUNDING)).mean())
    return min(adjusted.values()), adjusted


def _check(values: Mapping[str, Values], references: Mapping[str, Values]) -> None:
    """Raise `Refused` unless each measure has [S] values and [S, R] references, S and R shared."""
    if values.keys() != references.keys():
        odd = ", ".join(sorted(values.keys() ^ references.keys()))
        raise Refused(f"Values and references must be of the same measures; {odd} is in one only.")
    shapes = {(np.shape(values[m]), np.shape(references[m])) for m in values}
    fits = all(
        len(mine) == 1 and len(others) == 2 and mine[0] == others[0] and others[0] and others[1]
        for mine, others in shapes
    )
    if not fits or len(shapes) > 1:
        listed = ", ".join(f"{mine} and {others}" for mine, others in sorted(shapes))
        raise Refused(
            "Each measure needs values [S] and references [S, R] of the same seeds, at least one "
            f"of each; these are {listed}."
        )
