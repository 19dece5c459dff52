"""The little linear algebra that unlearning methods share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedunlearn.models.layout import Vector

LEAST_LENGTH = 1e-12
"""Lengths below this count as zero: no direction can be read from them."""


def mean(deltas: Tensor, examples: Tensor) -> Vector:
    """Return the FedAvg step ``sum_k n_k delta_k / sum_k n_k``.

    ``deltas`` is [k, d], ``examples`` [k] holds the records n_k of each client. The weights are
    normalised in float64, so scaling all of them changes nothing.
    Raises ValueError for an empty cohort, and for weights that are negative, not finite or sum to
    nothing.
    """
    if len(deltas) == 0:
        raise ValueError("The mean of no updates is undefined; skip a round that nobody is in.")
    counts = examples.double()
    total = float(counts.sum())
    if not 0 < total < float("inf") or bool((counts < 0).any()):
        raise ValueError(
            f"The weights of a mean must be finite, none below zero and one above, not "
            f"{examples.tolist()}."
        )
    weights = counts / total
    return torch.matmul(weights.to(deltas.dtype), deltas)


def lengths(vectors: Tensor) -> Tensor:
    """Return the Euclidean length of each row: [..., d] -> [..., 1]."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return length


def rescale(
    directions: Tensor,
    like: Tensor,
    within: Sequence[slice],
    max_ratio: float = float("inf"),
) -> Tensor:
    """Give ``directions`` the lengths of ``like``: ``v |u| / |v|``, slice by slice.

    Both are [..., d]; coordinates outside ``within`` stay as they are. The ratio ``|u| / |v|`` is
    at most ``max_ratio``. A direction of length zero stays zero: it points nowhere.
    """
    scaled = directions.clone()
    for part in within:
        ratio = lengths(like[..., part]) / lengths(directions[..., part]).clamp_min(LEAST_LENGTH)
        scaled[..., part] *= ratio.clamp_max(max_ratio)
    return scaled
