"""The logits of many images, batch by batch."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from fedunlearn.models.layout import Vector

FORWARD_BATCH = 1024
"""Records of one forward pass, unless another number is asked for."""

Net = Callable[[Vector, Tensor], Tensor]
"""A net as a function: ``logits = net(weights, images)``."""

Map = Callable[[Callable[[Tensor], Tensor], Iterable[Tensor]], Iterable[Tensor]]
"""Applies a function to batches: the built-in ``map``, or that of a pool of threads."""


NO_PREDICTION = -1
"""The prediction of a model whose logits are not numbers: no class at all."""


def logits(
    net: Net,
    weights: Vector,
    images: Iterable[Tensor],
    size: int = FORWARD_BATCH,
    each: Map = map,
) -> Tensor:
    """Return the logits [n, classes] of all ``images`` [n_i, *shape] under ``weights`` [d].

    They are computed ``size`` images at a time, without gradients, where ``weights`` lie; images
    may lie elsewhere.
    """

    @torch.no_grad()  # here, as it holds for one thread only
    def forward(batch: Tensor) -> Tensor:
        return net(weights, batch.to(weights.device))

    return torch.cat(list(each(forward, packed(images, size))))


def packed(parts: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Yield the rows of all ``parts`` [n_i, ...] in their order, ``size`` rows at a time."""
    batch: list[Tensor] = []
    room = size
    for part in parts:
        for begin in itertools.chain([0], range(room, len(part), size)):
            batch.append(part[begin : begin + room])
            room -= len(batch[-1])
            if room == 0:
                yield torch.cat(batch)
                batch, room = [], size
    if room < size:
        yield torch.cat(batch)


def predictions(logits: Tensor) -> Tensor:
    """Return the class of the largest logit: [n, classes] -> [n] int64.

    The first of equal logits wins. `NO_PREDICTION` stands where a logit is nan, so that a diverged
    model is not credited with the class 0 that argmax would give it.
    """
    return torch.where(logits.isnan().any(dim=-1), NO_PREDICTION, logits.argmax(dim=-1))
