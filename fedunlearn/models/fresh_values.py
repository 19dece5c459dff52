"""Fresh values for parts of a model, as torch draws those of a new one."""

import math

import numpy as np
import torch
from torch import Tensor

from fedunlearn.models.layout import Layout, Part, Vector


def redrawn(
    layout: Layout, weights: Vector, where: Tensor, rng: np.random.Generator, spread: float = 1.0
) -> Vector:
    """Return ``weights`` [d] with fresh values in the places that are true in ``where`` [d].

    A weight of more than one dimension is uniform within ``spread / sqrt(fan_in)``, its fan-in the
    product of all sizes but the first: torch's own layers have ``spread`` 1, He's have sqrt(6). A
    bias is within ``1 / sqrt(fan_in)`` of the weight beside it; scales of
    normalisations become 1 and their shifts 0, and any other vector of n numbers is uniform within
    ``1 / sqrt(n)``. Every place has its own draw of ``rng``, whatever else is true. Buffers stay.
    """
    fresh = torch.from_numpy(rng.uniform(-1, 1, layout.size)).to(weights.dtype)
    shapes = {part.name: part.shape for part in layout.parts if not part.buffer}
    for part in layout.parts:
        beside = _beside(part)
        weight = shapes.get(beside, part.shape)
        if part.buffer:
            fresh[part.slice] = weights[part.slice]
        elif beside.endswith("weight") and len(weight) == 1:
            fresh[part.slice] = 1.0 if part.name == beside else 0.0
        else:
            shape = weight if len(part.shape) == 1 else part.shape
            fan_in = math.prod(shape[1:]) if len(shape) > 1 else part.size
            wide = spread if len(part.shape) > 1 else 1.0
            fresh[part.slice] *= wide / math.sqrt(fan_in)
    return torch.where(where, fresh, weights)


def normalises(part: Part) -> bool:
    """Whether a part is the scale of a normalisation: a weight of one dimension."""
    return len(part.shape) == 1 and part.name.rpartition(".")[2] == "weight"


def _beside(part: Part) -> str:
    """Return the name of the weight of the layer that a part belongs to: its own, if it is one."""
    owner, dot, name = part.name.rpartition(".")
    return owner + dot + name.replace("bias", "weight")


def layers(layout: Layout) -> dict[str, tuple[Part, ...]]:
    """Return the parameters of each layer, by the name that its tensors begin with."""
    found: dict[str, tuple[Part, ...]] = {}
    for part in layout.parts:
        if not part.buffer:
            owner = part.name.rpartition(".")[0]
            found[owner] = (*found.get(owner, ()), part)
    return found
