"""How far two models are apart, in their weights and in what they say: functions of arrays."""

import math

import torch
from torch import Tensor

from fedunlearn.models import NO_PREDICTION, Vector, predictions

_TINY = torch.finfo(torch.float64).tiny


def weight_distance(weights: Vector, retrained: Vector, initial: Vector) -> float:
    """Return ``|w - w_r| / |w_r - w_0|``, in the Euclidean norm.

    ``weights`` w, ``retrained`` w_r and ``initial`` w_0 (before training, or any other model that
    lengths are to be seen from) are [d]. 0 is the retrained model itself, 1 is as far from it as
    w_0; there is no upper bound.
    It is nan where retraining moved nothing (w_r = w_0): then no length is there to compare with.
    """
    travelled = _length(retrained, initial)
    return _length(weights, retrained) / travelled if travelled else math.nan


def weight_cosine(weights: Vector, retrained: Vector, initial: Vector) -> float:
    """Return ``cos(w - w_0, w_r - w_0)``, in [-1, 1]: 1 where both went the same way.

    ``weights`` w, ``retrained`` w_r and ``initial`` w_0 (before training) are [d]. It is nan where
    either model is the initial one: it went nowhere, so its way has no direction.
    """
    ours, theirs = weights.double() - initial.double(), retrained.double() - initial.double()
    lengths = torch.linalg.vector_norm(ours) * torch.linalg.vector_norm(theirs)
    return float((ours @ theirs / lengths).clamp(-1, 1)) if lengths else math.nan


def activation_distance(logits: Tensor, others: Tensor) -> float:
    """Return ``mean_i |softmax f(x_i) - softmax g(x_i)|_2``, in [0, sqrt 2].

    ``logits`` f(x) and ``others`` g(x) are [n, classes], of the same records in the same order.
    0 means equal probabilities, sqrt 2 certainty about different classes on every record.
    Raises ValueError where the shapes differ or there are no records.
    """
    p, q = _probabilities(logits, others)
    return float(torch.linalg.vector_norm(p - q, dim=-1).mean())


def divergence(logits: Tensor, others: Tensor) -> float:
    """Return the mean Jensen-Shannon divergence in nats, in [0, ln 2].

    ``mean_i (KL(p_i | m_i) + KL(q_i | m_i)) / 2`` with ``p = softmax f(x)``, ``q = softmax g(x)``
    and ``m = (p + q) / 2``: finite where a class has probability 0 in one model, and symmetric.
    ``logits`` f(x) and ``others`` g(x) are [n, classes], of the same records in the same order.
    Raises ValueError where the shapes differ or there are no records.

    Lin. Divergence measures based on the Shannon entropy. IEEE Transactions on Information
    Theory 1991.
    """
    p, q = _probabilities(logits, others)
    both = (p + q).clamp_min(_TINY)  # p / m = 2p / (p + q), and xlogy(0, 0) is 0
    terms = torch.xlogy(p, 2 * p / both) + torch.xlogy(q, 2 * q / both)
    return float(terms.sum(dim=-1).mean() / 2)


def agreement(logits: Tensor, others: Tensor) -> float:
    """Return ``mean_i 1[argmax f(x_i) = argmax g(x_i)]``, in [0, 1].

    ``logits`` f(x) and ``others`` g(x) are [n, classes], of the same records in the same order.
    Two models that are wrong in the same way agree; those that predict nothing do not.
    Raises ValueError where the shapes differ or there are no records.
    """
    _same_records(logits, others)
    ours, theirs = predictions(logits), predictions(others)
    return float(((ours == theirs) & (ours != NO_PREDICTION)).double().mean())


def _length(weights: Vector, other: Vector) -> float:
    return float(torch.linalg.vector_norm(weights.double() - other.double()))


def _probabilities(logits: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    _same_records(logits, others)
    return logits.double().softmax(dim=-1), others.double().softmax(dim=-1)


def _same_records(logits: Tensor, others: Tensor) -> None:
    if logits.shape != others.shape or len(logits) == 0:
        raise ValueError(
            f"Two models are compared on the same records, at least one; the logits are "
            f"{tuple(logits.shape)} and {tuple(others.shape)}."
        )
