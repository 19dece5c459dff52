"""How well one number of records ranks another, with intervals over the clients who hold them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr

from fedunlearn import randomness
from fedunlearn.attacks.memorization import Bank, Flags, Floats, of_records
from fedunlearn.evaluators import Estimate, scores
from fedunlearn.randomness import Stream

REPLICATES = 200
"""Resamples of clients for an interval."""

Rows = npt.NDArray[np.int64]
"""Numbers of records, with repetitions."""


@dataclass(frozen=True)
class Clustered:
    """Records whose clients are drawn again: those of one client are not independent."""

    owner: npt.NDArray[np.int64]
    """Whose record each is, [n], ascending."""

    def estimate(self, statistic: Callable[[Rows], float]) -> Estimate:
        """Return a statistic of all records, and its 95 % interval over clients.

        Each resample draws as many clients as there are, with all of their records. A resample
        without a value is left out; the ends are nan where fewer than half have one.
        """
        rows = np.split(np.arange(len(self.owner)), np.flatnonzero(np.diff(self.owner)) + 1)
        rng = randomness.rng(0, Stream.SUBSETS, 2)
        drawn = [rng.integers(len(rows), size=len(rows)) for _ in range(REPLICATES)]
        values = np.array([statistic(np.concatenate([rows[c] for c in each])) for each in drawn])
        known = values[np.isfinite(values)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) > REPLICATES / 2 else NOWHERE
        return Estimate(statistic(np.arange(len(self.owner))), float(low), float(high))

    def spearman(self, first: Floats, second: Floats) -> Estimate:
        """Return `spearman` of all records, and its interval."""
        return self.estimate(lambda rows: spearman(first[rows], second[rows]))

    def auc(self, values: Floats, marked: Flags) -> Estimate:
        """Return how well high values tell the records that are ``marked`` [n], and its interval.

        It is the area under the ROC curve; records without a value are left out.
        """
        return self.estimate(lambda rows: _auc(values[rows], marked[rows]))

    def within(self, first: Floats, second: Floats) -> float:
        """Return the mean over clients of `spearman` among a client's own records."""
        owners = [self.owner == client for client in np.unique(self.owner)]
        each = np.array([spearman(first[own], second[own]) for own in owners])
        return float(np.nanmean(each)) if np.isfinite(each).any() else np.nan


NOWHERE = (np.nan, np.nan)


def spearman(first: Floats, second: Floats) -> float:
    """Return Spearman's rank correlation; records without a value are left out.

    nan for fewer than three, and where one side is the same for all.
    """
    there = np.isfinite(first) & np.isfinite(second)
    one, other = first[there], second[there]
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    found: Any = spearmanr(one, other)
    return float(found.statistic)


def agreement(bank: Bank) -> float:
    """Return `spearman` between the memorization of records by every other model, and the rest.

    What a perfect proxy would reach against an estimate from so many models is about
    ``sqrt(2 r / (1 + r))`` for this r (`reachable`).
    """
    odd = np.arange(len(bank.held)) % 2 == 1
    return spearman(of_records(bank.part(odd)).value, of_records(bank.part(~odd)).value)


def reachable(agreement: float) -> float:
    """Return what a perfect proxy would reach, by the formula of Spearman and Brown.

    The whole bank's reliability is ``2 r / (1 + r)`` for halves that agree by r; a truth correlates
    with its estimate by the root of that. It is 0 where the halves do not agree.
    """
    return float(np.sqrt(max(0.0, 2 * agreement / (1 + agreement))))


def _auc(values: Floats, marked: Flags) -> float:
    there = np.isfinite(values)
    positive, negative = values[there & marked], values[there & ~marked]
    if not len(positive) or not len(negative):
        return np.nan
    return scores.auc(torch.from_numpy(positive), torch.from_numpy(negative))
