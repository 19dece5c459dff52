"""Tensors of a model by lot: which of them may move, and noise on some."""

import math
from collections.abc import Iterable

import numpy as np
import torch

from fedunlearn.local import Mask
from fedunlearn.models import Layout, Part, Vector, layers, normalises


def drawn_tensors(layout: Layout, share: float, rng: np.random.Generator) -> list[Part]:
    """Draw ``ceil(share n)`` of a model's n parameters but normalisations, in the order drawn."""
    norms = _norms(layout)
    pool = [part for part in layout.parts if not part.buffer and part not in norms]
    order = rng.permutation(len(pool))[: math.ceil(share * len(pool))]
    return [pool[place] for place in order.tolist()]


def freeing(layout: Layout, parts: Iterable[Part]) -> Mask:
    """Return the mask that lets ``parts`` move, and all normalisations, and nothing else."""
    moving = torch.zeros(layout.size, dtype=torch.bool)
    for part in (*parts, *_norms(layout)):
        moving[part.slice] = True
    return Mask.of(moving)


def with_noise(
    weights: Vector, parts: Iterable[Part], std: float, rng: np.random.Generator
) -> Vector:
    """Add normal noise to ``parts`` of ``weights`` [d]: ``std`` times each one's root mean square.

    Every coordinate has its own draw of ``rng``, whichever parts there are.
    """
    noise = torch.from_numpy(rng.standard_normal(len(weights))).to(weights.dtype)
    changed = weights.clone()
    for part in parts:
        size = float(weights[part.slice].square().mean().sqrt())
        changed[part.slice] += std * size * noise[part.slice]
    return changed


def _norms(layout: Layout) -> list[Part]:
    """Return the scales and shifts of all normalisations."""
    return [part for own in layers(layout).values() if any(map(normalises, own)) for part in own]
