"""What the logits of one model say about labelled records: functions of arrays."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from fedunlearn.models import predictions


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of records whose label is predicted: ``mean_i 1[argmax f(x_i) = y_i]``.

    ``logits`` f(x) is [n, classes], ``labels`` y [n] int64; the value lies in [0, 1].
    Raises ValueError for no records.
    """
    _some(labels)
    return float((predictions(logits) == labels).double().mean())


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each record's cross-entropy in nats: ``-log softmax(f(x_i))[y_i]``, [n] float64.

    ``logits`` f(x) is [n, classes], ``labels`` y [n] int64. In float32, the losses of all records
    about which a model is sure would round to the same zero, and no attack could rank them.
    """
    return functional.cross_entropy(logits.double(), labels, reduction="none")


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy in nats: ``mean_i -log softmax(f(x_i))[y_i]``, at least 0.

    A model that gives all of C classes the same logit scores ln C. One confident error may
    outweigh many records: the mean has no upper bound.
    ``logits`` f(x) is [n, classes], ``labels`` y [n] int64. Raises ValueError for no records.
    """
    _some(labels)
    return float(losses(logits, labels).mean())


def auc(positive: Tensor, negative: Tensor) -> float:
    """Return the area under the ROC curve: ``P(s > t) + P(s = t) / 2``.

    s is drawn from ``positive`` [n], t from ``negative`` [m]: scores, of which higher ones should
    be the positive ones. 1 means that some threshold separates them, 0.5 that scores tell nothing,
    below 0.5 that they point the wrong way. With equal distributions and no ties its standard
    deviation is ``sqrt((n + m + 1) / (12 n m))``. It is nan where a score is nan.
    Raises ValueError where either side is empty.

    Mann, Whitney. On a test of whether one of two random variables is stochastically larger than
    the other. Annals of Mathematical Statistics 1947: U / (n m).
    """
    _some(positive)
    _some(negative)
    if positive.isnan().any() or negative.isnan().any():
        return math.nan
    scores = positive.double().contiguous()
    sorted_others = negative.double().sort().values
    below = int(torch.searchsorted(sorted_others, scores).sum())
    below_or_equal = int(torch.searchsorted(sorted_others, scores, right=True).sum())
    return (below + below_or_equal) / 2 / (len(positive) * len(negative))


def overlap(counts: Tensor, others: Tensor) -> float:
    """Return how alike two distributions of labels are: ``sum_c min(p_c, q_c)``, in [0, 1].

    ``counts`` and ``others`` are [classes], records of each label; p and q are their shares. 1 are
    equal shares, 0 no label in common: it is 1 minus the total variation distance.
    Raises ValueError where either counts nothing.
    """
    ours, theirs = counts.double(), others.double()
    if not ours.sum() or not theirs.sum():
        raise ValueError("Nobody's labels cannot be compared; leave them out.")
    return float(torch.minimum(ours / ours.sum(), theirs / theirs.sum()).sum())


def _some(values: Tensor) -> None:
    if len(values) == 0:
        raise ValueError("A score over no records is undefined; leave it out.")
