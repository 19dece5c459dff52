"""How much a model gives away about each record, from its logits alone: functions of arrays.

All scores are higher where the record looks more like a member, and are float64: in float32 the
records about which a model is sure would round to one number. ``logits`` are [..., n, classes] of
a model, or of several, and ``labels`` [n]. A model without numbers scores nan.

These four look at one model and compare records with each other, so that they find who is easy to
classify as much as who was trained on. `likelihood` compares a record with itself in other models.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit, logsumexp

Floats = npt.NDArray[np.float64]


def confidence(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """Return the logit-scaled confidence ``phi = log(p_y / (1 - p_y))``, [..., n].

    It is ``z_y - log sum_{c != y} exp(z_c)`` for logits z, which is finite for any confidence;
    computed from a probability, it is infinite from 1 - 1e-16 on. Over models it is near to a
    Gaussian, which LiRA needs. Raises ValueError for fewer than two classes.

    Carlini, Chien, Nasr, Song, Terzis, Tramer. Membership inference attacks from first principles.
    IEEE S&P 2022, arXiv 2112.03570, section IV-C.
    """
    z, of_label = _own(logits, labels)
    rest = logsumexp(np.where(of_label, -np.inf, z), axis=-1)
    chosen: Floats = np.where(of_label, z, 0.0).sum(axis=-1) - rest
    return chosen


def loss(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """Return ``log p_y``, the negative cross-entropy, at most 0, [..., n].

    It rises with `confidence`, so that both order the records of one model alike: as attacks on
    one model they are the same. Easy records have a low loss whether or not they were trained on.

    Yeom, Giacomelli, Fredrikson, Jha. Privacy risk in machine learning. CSF 2018, arXiv 1709.01604.
    """
    score: Floats = log_expit(confidence(logits, labels))
    return score


def entropy(logits: npt.ArrayLike) -> Floats:
    """Return ``sum_c p_c log p_c``, the negative entropy, from -log(classes) to 0, [..., n].

    It does not look at the label: who is surely wrong counts as a member, so that it is blind to
    labels that were flipped, and to a model that unlearned by being sure of something else.

    Salem, Zhang, Humbert, Berrang, Fritz, Backes. ML-Leaks. NDSS 2019, arXiv 1806.01246.
    """
    log_p, _ = _logarithms(_numbers(logits))
    score: Floats = (np.exp(log_p) * np.maximum(log_p, _LEAST)).sum(axis=-1)
    return score


def modified_entropy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """Return ``(1 - p_y) log p_y + sum_{c != y} p_c log(1 - p_c)``, at most 0, [..., n].

    This is minus the paper's ``Mentr``; unlike `entropy` it falls as the model is surely wrong. A
    well-known implementation, which several unlearning papers use, takes ``log p_c`` for
    ``log(1 - p_c)`` and writes whole columns (``x[:, labels]``) where the true class of each row
    is meant: numbers from there are those of another attack.

    Song, Mittal. Systematic evaluation of privacy risks of machine learning models. USENIX
    Security 2021, arXiv 2003.10595, section 4.1.
    """
    z, of_label = _own(logits, labels)
    log_p, log_rest = _logarithms(z)
    terms = np.where(
        of_label,
        np.exp(log_rest) * np.maximum(log_p, _LEAST),
        np.exp(log_p) * np.maximum(log_rest, _LEAST),
    )
    score: Floats = terms.sum(axis=-1)
    return score


def per_client(scores: npt.ArrayLike, clients: npt.ArrayLike) -> Floats:
    """Return each client's mean score over its records, clients ascending: [..., k].

    ``scores`` are [..., n], ``clients`` [n] says whose record each is. A record may be hard to
    tell while the mean of many is not; but many records of one model do not make many models, so
    a client's score means something only next to the same client's under other models.
    """
    values, whose = np.asarray(scores, np.float64), np.asarray(clients)
    means = [values[..., whose == client].mean(axis=-1) for client in np.unique(whose)]
    return np.stack(means, axis=-1)


_LEAST = np.finfo(np.float64).min
"""Stands for the logarithm of 0, which is multiplied with 0 here."""


def _own(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, npt.NDArray[Any]]:
    """Return logits [..., n, classes], and the mask of each record's label [n, classes]."""
    z = _numbers(logits)
    return z, np.asarray(labels)[:, None] == np.arange(z.shape[-1])


def _numbers(logits: npt.ArrayLike) -> Floats:
    """Return logits in float64; where one is infinite, its record has none."""
    z = np.asarray(logits, np.float64)
    if z.shape[-1] < 2:
        raise ValueError("A model of fewer than two classes is always sure: nothing to attack.")
    numbers: Floats = np.where(np.isfinite(z).all(axis=-1, keepdims=True), z, np.nan)
    return numbers


def _logarithms(z: Floats) -> tuple[Floats, Floats]:
    """Return ``log p_c`` and ``log(1 - p_c)``, [..., n, classes], both without cancellation.

    Only the likeliest class can be near to 1, and of that one ``1 - p`` is summed up.
    """
    top = np.arange(z.shape[-1]) == z.argmax(axis=-1)[..., None]
    others = logsumexp(np.where(top, -np.inf, z), axis=-1, keepdims=True)
    most = z.max(axis=-1, keepdims=True)
    total = most - log_expit(most - others)
    log_p = np.where(top, log_expit(most - others), z - total)
    rest = np.log1p(-np.exp(np.where(top, -np.inf, log_p)))
    return log_p, np.where(top, others - total, rest)
