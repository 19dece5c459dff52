"""Which records of which clients go through the net together, step by step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data import Indices

LEAST_FILLED = 0.9
"""A batch joins a group if it fills this share of the longest there: padding is at most 10 %."""


@dataclass(frozen=True, slots=True)
class Group:
    """Clients whose batches of one step are computed together."""

    clients: slice | Tensor
    """Their places, g of them: a slice where they stand side by side."""
    records: Tensor
    """Record numbers of each batch, [g, b]; shorter batches repeat their last record."""
    weights: Tensor
    """What each record counts, [g, b]: ``1 / n`` in a batch of n, 0 for padding."""


def groups(
    orders: Sequence[Indices], sizes: Sequence[Sequence[int]], device: torch.device
) -> Iterator[list[Group]]:
    """Yield the groups of every step, until nobody has a step left.

    Client i takes ``sizes[i]`` records a step, one after another from ``orders[i]``. Clients come
    with the most steps first, so that those still at work are always the first ones.
    """
    numbers = torch.from_numpy(np.concatenate(orders)).to(device)
    ends = np.cumsum([len(order) for order in orders])
    taken = np.zeros((len(sizes), max(len(each) for each in sizes)), dtype=np.int64)
    for row, each in zip(taken, sizes, strict=True):
        row[: len(each)] = each
    starts = (ends - taken.sum(axis=1))[:, None] + np.cumsum(taken, axis=1) - taken
    for step in range(taken.shape[1]):
        busy = np.count_nonzero(taken[:, step])
        yield [
            _group(clients, starts[clients, step], taken[clients, step], numbers)
            for clients in _alike(taken[:busy, step])
        ]


def _alike(sizes: Indices) -> Iterator[slice | Indices]:
    """Put batches of nearly equal size together, longest first."""
    if sizes.min() >= LEAST_FILLED * sizes.max():
        yield slice(0, len(sizes))
        return
    waiting = np.argsort(-sizes, kind="stable")
    while len(waiting):
        joining = np.count_nonzero(sizes[waiting] >= LEAST_FILLED * sizes[waiting[0]])
        yield waiting[:joining]
        waiting = waiting[joining:]


def _group(clients: slice | Indices, starts: Indices, sizes: Indices, numbers: Tensor) -> Group:
    """Look up the record numbers of one group and weigh them."""
    within = np.arange(sizes.max())
    places = starts[:, None] + np.minimum(within, sizes[:, None] - 1)
    weights = (within < sizes[:, None]) / sizes[:, None]
    return Group(
        clients if isinstance(clients, slice) else torch.from_numpy(clients).to(numbers.device),
        numbers[torch.from_numpy(places).to(numbers.device)],
        torch.from_numpy(weights).to(numbers.device),
    )
