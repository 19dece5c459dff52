"""How far models know records only because they trained on them: functions of arrays.

    mem(i) = P[f(x_i) = y_i | i was trained on] - P[f(x_i) = y_i | it was not]

over trainings with other seeds, in [-1, 1]: 0 for what every model gets right or wrong anyway, 1
for what is right only where it was seen. Feldman, Zhang. What neural networks memorize and why.
NeurIPS 2020, arXiv 2008.03703: M models, each on a random share of the records, estimate all of
them at once. What a model trains on may as well be drawn client by client; then a record's value is
what it owes to its client's presence, similar records of the same client included.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bank:
    """What M models say of n records, and what each of them trained on."""

    correct: Flags
    """Which model predicts which record's label, [M, n]."""
    held: Flags
    """Which model trained on which record, [M, n]."""
    owner: npt.NDArray[np.int64]
    """Whose record each is: its place in a list of K clients, [n], ascending."""

    def part(self, models: Flags) -> Self:
        """Return the bank of some of its models, ``models`` [M] bool."""
        return type(self)(self.correct[models], self.held[models], self.owner)

    def of_owners(self) -> Floats:
        """Return each model's share of correct records of each client, [M, K]."""
        right = np.add.reduceat(self.correct.astype(np.float64), self.first, axis=1)
        shares: Floats = right / np.bincount(self.owner)
        return shares

    @property
    def first(self) -> npt.NDArray[np.intp]:
        """Where each client's records begin, [K]."""
        begin: npt.NDArray[np.intp] = np.unique(self.owner, return_index=True)[1]
        return begin


@dataclass(frozen=True)
class Memorization:
    """Estimates and their standard errors, of the same length; nan where there is no other side."""

    value: Floats
    error: Floats


def of_records(bank: Bank) -> Memorization:
    """Return the memorization of each record, [n].

    With k of a models right that trained on i, and l of b that did not, ``mem = k/a - l/b``, and
    ``se^2 = p (1 - p) / (a - 1) + q (1 - q) / (b - 1)`` for p = k/a and q = l/b, which is unbiased
    for the variance. At most it is ``.25 a/(a - 1)^2 + ...``: with 64 models and a share of .7
    about .14. It is 0 where all models of a side agree: read it with their number.
    """
    return _differences(bank.correct.astype(np.float64), bank.held)


def of_clients(bank: Bank) -> Memorization:
    """Return the memorization of each client, [K], for a bank in which models differ in clients.

    With ``a_m`` a model's share of correct records of the client, it is the mean of a over models
    with it minus that over models without it, and ``se^2 = s_in^2 / n_in + s_out^2 / n_out`` with
    the sample variances of a on both sides. A model is one draw, however many records there are:
    what it gets right it gets right together.
    """
    return _differences(bank.of_owners(), bank.held[:, bank.first])


def of_pairs(with_client: Floats, without: Floats) -> Memorization:
    """Return the memorization of one client, [1], from two banks, model by model of one seed.

    ``with_client`` and ``without`` [N] are the shares of its records that models with and without
    it get right. The value is the mean of the differences d, and ``se = s(d) / sqrt(N)``: two
    trainings of one seed have their accidents in common. The error is nan for a single pair.
    """
    apart = with_client - without
    error = apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.nan
    return Memorization(np.array([apart.mean()]), np.array([error]))


def means_over_clients(bank: Bank) -> Memorization:
    """Return the mean of `of_records` over each client's records, [K].

    The error is that of the jackknife over models, ``se^2 = (M - 1)/M sum_m (t_m - mean t)^2``,
    with ``t_m`` the mean without model m: records share models, so that theirs do not add up.
    """
    totals = np.bincount(bank.owner)

    def mean(records: Floats) -> Floats:
        means: Floats = np.bincount(bank.owner, records, minlength=len(totals)) / totals
        return means

    inside, outside = _counts(bank.held)
    right_in = (bank.correct & bank.held).sum(axis=0)
    right_out = (bank.correct & ~bank.held).sum(axis=0)
    kept = []
    for correct, held in zip(bank.correct, bank.held, strict=True):
        with np.errstate(invalid="ignore", divide="ignore"):
            kept.append(
                mean(
                    (right_in - (correct & held)) / (inside - held)
                    - (right_out - (correct & ~held)) / (outside - ~held)
                )
            )
    left = np.stack(kept)
    models = len(left)
    error = np.sqrt((models - 1) / models * np.square(left - left.mean(axis=0)).sum(axis=0))
    return Memorization(mean(of_records(bank).value), error)


def _differences(values: Floats, held: Flags) -> Memorization:
    """Return the means of ``values`` [M, n] over models that hold minus over those that do not."""
    sides = []
    for side in (held, ~held):
        count = side.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(side, values, 0).sum(axis=0) / count
            squares = np.where(side, np.square(values - mean), 0).sum(axis=0)
            sides.append((mean, squares / (count - 1) / count))
    (inside, error), (outside, other) = sides
    return Memorization(inside - outside, np.sqrt(error + other))


def _counts(held: Flags) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    inside = held.sum(axis=0)
    return inside, len(held) - inside
