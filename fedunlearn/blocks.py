"""A stored round, a few clients at a time: never more of their updates in memory than that."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fedunlearn.history import Kept, Needs
from fedunlearn.layout import Vector

BYTES = 2**28
"""That the updates of a block take, unless a single one takes more."""


def blocks(stored: Kept, d: int) -> Iterator[Kept]:
    """Show a round of models [d] as rounds of a few clients each, together all of them."""
    size = max(1, BYTES // (4 * d))
    clients = stored.clients
    for start in range(0, len(clients), size):
        yield stored.without(set(clients) - set(clients[start : start + size]))


def examples(stored: Kept) -> Tensor:
    """Return the records of each client of a round, [k] int64, without reading any update."""
    return stored.reduced(Needs()).updates.examples


def step_of(stored: Kept, d: int) -> Vector:
    """Return what the clients shown moved the model by, [d], as `Round.share` of them all."""
    shares = (block.share(set(block.clients)) for block in blocks(stored, d))
    return sum(shares, torch.zeros(d))


def quantile(stored: Kept, d: int, share: float) -> float:
    """Return the least size that at most ``share`` of the updates' coordinates exceed."""
    count = math.floor(share * len(stored.clients) * d) + 1
    largest = torch.empty(0)
    for block in blocks(stored, d):
        found = torch.cat([largest, block.updates.deltas.abs().flatten()])
        largest = found.topk(min(count, len(found)), sorted=False).values
    return float(largest.min())
