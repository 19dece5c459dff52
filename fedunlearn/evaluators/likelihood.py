"""Attacks that compare what a model says of a record with what other models say of it.

Shadow models are trained like the one attacked, with the record (IN) or without it (OUT), by
whoever attacks. All scores are higher where the record looks more like a member, and each record
is measured by itself: how hard it is drops out. ``values`` [..., n] and ``shadows`` [models, n]
are logit-scaled confidences (`attack_scores.confidence`) unless said otherwise.

The model that is attacked must not be among the shadows: its records would be judged by Gaussians
that they helped to fit, and every attack would look stronger than it is.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Mask = npt.NDArray[np.bool_]

Spread = Literal["auto", "record", "shared"]
"""A standard deviation for each record, or one for all of them; `lira` says which is automatic."""

FEW = 64
"""With fewer shadow models one spread for all records is better than one each, says the paper."""

LEAST_SPREAD = 1e-6
"""Models that all say the same have no spread to divide by."""


def lira(
    values: npt.ArrayLike, shadows: npt.ArrayLike, held: npt.ArrayLike, spread: Spread = "auto"
) -> Floats:
    """Return ``log N(phi; mu_in, s_in) - log N(phi; mu_out, s_out)`` of each record, [..., n].

    ``held`` [models, n] says which shadow model trained on which record; mu and s are mean and
    standard deviation over those that did, and over those that did not. With "auto", s is pooled
    over all records where there are fewer than 64 shadow models. Raises ValueError unless every
    record has a model on either side and some record two; for a spread of its own, every record.

    Pitfalls: a model that is far from both Gaussians is judged by their tails, where the wider one
    wins, so that a damaged model may score high or low at random. Members and non-members must be
    treated alike, both IN half of the models: non-members that no shadow saw would be told from
    members by the shadows, not by the model.

    Carlini, Chien, Nasr, Song, Terzis, Tramer. Membership inference attacks from first principles.
    IEEE S&P 2022, arXiv 2112.03570, algorithm 1.
    """
    shadow_scores, mask = np.asarray(shadows, np.float64), np.asarray(held, np.bool_)
    phi = np.asarray(values, np.float64)
    return _log_density(phi, *_fitted(shadow_scores, mask, spread)) - _log_density(
        phi, *_fitted(shadow_scores, ~mask, spread)
    )


def lira_offline(values: npt.ArrayLike, outside: npt.ArrayLike, spread: Spread = "auto") -> Floats:
    """Return ``(phi - mu_out) / s_out`` of each record, [..., n].

    ``outside`` [models, n] are models that never saw the record. The paper's score is the normal
    distribution function of this one; it orders alike, but rounds to 1 where this goes on.
    Raises ValueError for fewer than two models. Weaker than `lira`: how far a member would be is
    not known, so that an outlier among the OUT models passes for one.

    Carlini et al., as `lira`, section V.
    """
    outside_scores = np.asarray(outside, np.float64)
    mean, deviation = _fitted(outside_scores, np.ones(outside_scores.shape, np.bool_), spread)
    score: Floats = (np.asarray(values, np.float64) - mean) / deviation
    return score


def u_lira(
    values: npt.ArrayLike,
    unlearned: npt.ArrayLike,
    retrained: npt.ArrayLike,
    spread: Spread = "auto",
) -> Floats:
    """Return the log-likelihood ratio of "unlearned" against "retrained", [..., n].

    ``log N(phi; mu_u, s_u) - log N(phi; mu_r, s_r)``, with Gaussians of each record over
    ``unlearned`` [u, n] (models that learnt the record and were made to forget it, by the same
    method) and over ``retrained`` [r, n] (models that never saw it). 0 on average, and an AUC of
    0.5 against further retrained models, is perfect forgetting. All models must share the division
    of the data and the request. Raises ValueError for fewer than two models on either side.

    Hayes, Shumailov, Triantafillou, Khalifa, Papernot. Inexact unlearning needs more careful
    evaluations to avoid a false sense of privacy. SaTML 2025, arXiv 2403.01218.
    """
    first, second = np.asarray(unlearned, np.float64), np.asarray(retrained, np.float64)
    held = np.zeros((len(first) + len(second), first.shape[-1]), np.bool_)
    held[: len(first)] = True
    return lira(values, np.concatenate([first, second]), held, spread)


def rmia(
    records: tuple[npt.ArrayLike, npt.ArrayLike],
    population: tuple[npt.ArrayLike, npt.ArrayLike],
    gamma: float = 1.0,
) -> Floats:
    """Return the share of the population that each record beats, in [0, 1], [n].

    ``P_z( [Pr(x | model) / Pr(x)] / [Pr(z | model) / Pr(z)] >= gamma )``: both pairs are the
    probability of the true class under the model attacked, and on average over other models
    (`rmia_average`), [n] for records x and [m] for population records z, which nobody trained on.
    ``gamma`` is at least 1; where the model is right about most, a larger one is beaten by nobody
    and all score 0. Good with few shadow models. Scores come in steps of 1/m, so that the lowest
    rates of false positives need a large population. It is nan where the model's probabilities
    are, for one record as for all.

    Zarifzadeh, Liu, Shokri. Low-cost high-power membership inference attacks. ICML 2024,
    arXiv 2312.03262, equation 4 and algorithm 1.
    """
    x, z = (_ratio(*pair) for pair in (records, population))
    if np.isnan(x).any() or np.isnan(z).any():
        return np.full(x.shape, np.nan)
    # x >= gamma z, counted in the sorted population
    below = np.searchsorted(np.sort(gamma * z), x, side="right")
    score: Floats = below / len(z)
    return score


def rmia_average(
    outside: npt.ArrayLike, inside: npt.ArrayLike | None = None, a: float = 0.3
) -> Floats:
    """Return ``Pr(x)``: each record's probability averaged over models with and without it, [n].

    ``(Pr_in + Pr_out) / 2`` online. Offline, without ``inside``, Pr_in is taken for
    ``a Pr_out + (1 - a)``, which gives ``((1 + a) Pr_out + 1 - a) / 2``; ``a`` in [0, 1] depends on
    data and net, the paper's values lie between 0.2 and 1. Both are mean probabilities [n].
    Records that no shadow model may train on, such as the population, are taken offline by a = 1.
    """
    out = np.asarray(outside, np.float64)
    within = a * out + (1 - a) if inside is None else np.asarray(inside, np.float64)
    average: Floats = (within + out) / 2
    return average


def mean_where(values: npt.ArrayLike, mask: npt.ArrayLike) -> Floats:
    """Return the mean over models [models, n] of the marked ones, [n]; nan where there are none."""
    numbers, kept = np.asarray(values, np.float64), np.asarray(mask, np.bool_)
    count = kept.sum(axis=0)
    mean: Floats = np.where(kept, numbers, 0).sum(axis=0) / np.where(count, count, np.nan)
    return mean


def _fitted(scores: Floats, mask: Mask, spread: Spread) -> tuple[Floats, Any]:
    """Return mean and standard deviation of each record [n] over the marked models [models, n]."""
    free = mask.sum(axis=0) - 1
    shared = spread == "shared" or (spread == "auto" and len(scores) < FEW)
    if free.min(initial=1) < 0 or (free.sum() if shared else free.min(initial=1)) < 1:
        raise ValueError(
            "Too few shadow models: every record needs one with it and one without, and a spread "
            "needs two."
        )
    mean = mean_where(scores, mask)
    squares = np.where(mask, (scores - mean) ** 2, 0).sum(axis=0)
    variance = squares.sum() / free.sum() if shared else squares / free
    return mean, np.maximum(np.sqrt(variance), LEAST_SPREAD)


def _log_density(values: Floats, mean: Floats, deviation: Any) -> Floats:
    """Return ``log N(value; mean, deviation)`` but for a constant."""
    density: Floats = -np.log(deviation) - (values - mean) ** 2 / (2 * deviation**2)
    return density


def _ratio(model: npt.ArrayLike, average: npt.ArrayLike) -> Floats:
    """Return ``Pr(x | model) / Pr(x)``; what no model thinks possible has the ratio 0."""
    likeliest = np.maximum(np.asarray(average, np.float64), np.finfo(np.float64).tiny)
    ratio: Floats = np.asarray(model, np.float64) / likeliest
    return ratio
