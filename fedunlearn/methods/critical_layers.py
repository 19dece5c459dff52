"""Which layers clients move most, and a sparse part of them."""

import math

import numpy as np
import torch
from torch import Tensor

from fedunlearn.history import Updates
from fedunlearn.methods.destroyers import within
from fedunlearn.models import Layout, layers, lengths, normalises


def critical(layout: Layout, updates: Updates, count: int) -> Tensor:
    """Return where the ``count`` layers lie that clients move most in the mean, [d].

    A layer's distance is ``mean_k |delta_k| / sqrt(n)`` over its n weights and biases: every client
    counts alike, and the size of a layer does not matter. Normalisations are no layers of theirs;
    where there are fewer layers it is all of them.
    """
    owned = [parts for parts in layers(layout).values() if not any(map(normalises, parts))]
    places = [within(layout, parts) for parts in owned]
    distances = [
        float(lengths(updates.deltas[:, where]).sum()) / math.sqrt(int(where.sum()))
        for where in places
    ]
    found = torch.zeros(layout.size, dtype=torch.bool)
    for place in np.argsort(distances, kind="stable")[::-1][:count]:
        found |= places[place]
    return found


def drawn_from(among: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Return a ``share`` of the coordinates true in ``among`` [d], by lot, at least one."""
    places = among.nonzero().flatten()
    count = max(1, round(share * len(places)))
    found = torch.zeros_like(among)
    found[places[torch.from_numpy(rng.permutation(len(places))[:count])]] = True
    return found
