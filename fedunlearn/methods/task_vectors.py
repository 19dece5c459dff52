"""What several runs of the same work from places around a model have in common."""

import numpy as np
import torch
from torch import Tensor

from fedunlearn.models import LEAST_LENGTH, Layout, Vector, layers


def around(
    layout: Layout,
    weights: Vector,
    direction: Vector,
    radius: float,
    count: int,
    rng: np.random.Generator,
) -> Tensor:
    """Return ``count`` models at the distance ``radius`` from ``weights``, [count, d].

    ``w_k = w + radius z_k d / |d|`` with a sign z_k of each layer, drawn by lot so that each layer
    has as many of both: the mean of all w_k is w. ``direction`` d is [d], ``count`` even. Where d
    is 0, all are w.
    """
    way = direction * (radius / direction.norm().clamp_min(LEAST_LENGTH))
    signs = torch.zeros(count, layout.size)
    half = np.repeat([1.0, -1.0], count // 2)
    for parts in layers(layout).values():
        drawn = torch.from_numpy(rng.permutation(half)).to(signs.dtype)
        for part in parts:
            signs[:, part.slice] = drawn[:, None]
    found: Tensor = weights + signs * way
    return found


def agreed(tasks: Tensor) -> Vector:
    """Return the mean of those ``tasks`` [k, d] that have the sign of most, one by one, [d].

    Where as many rise as fall, or most stay, it is 0.
    """
    signs = tasks.sign()
    same = signs == signs.sum(0).sign()
    return (tasks * same).sum(0) / same.sum(0).clamp_min(1)
