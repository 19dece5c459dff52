"""Windows: short stretches of a row that carry too much information to turn up by chance.

With p the share that an item has in its row, a window carries ``sum -log2 p`` bits; among n bytes
of other content one of b bits is expected ``n 2^-b`` times. Zeros, which everybody sends, carry
next to nothing.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fedunlearn.history.audit.patterns import SHORTEST

BITS = 96
"""Information of a window: by chance, 2^40 bytes hold one with a probability of 2^-56."""

LONGEST = 2048
"""Bytes within which a window must carry as much."""

WINDOWS = 4
"""Windows of an update in each form, one in each quarter of its row."""

STRETCH = 2**14
"""Items of a longer row that are looked at first."""


def windows(
    row: Tensor,
    rng: np.random.Generator,
    *,
    count: int = WINDOWS,
    credit: float = 1.0,
    rising: bool = False,
    base: Tensor | None = None,
) -> Iterator[bytes]:
    """Yield windows of ``row`` [n] from different parts of it, the shortest that carry enough.

    ``credit`` is the share of their bits that items are credited with: less than all where near
    ones go together, as pixels do. In a ``rising`` row it is the steps that inform. Next to a
    ``base`` [n] only items count that differ from it; and as ``base + delta`` gives the model that
    a client trained bit by bit only within a factor of 2 (Sterbenz), no others may be in a window.
    """
    row = row.detach().cpu().contiguous()
    items = row.view(torch.uint8).numpy().view(f"u{row.itemsize}")
    usable = np.ones(len(items), bool)
    changed = usable
    if base is not None:
        ratio = (row / base.cpu()).numpy()
        usable, changed = (ratio >= 0.5) & (ratio <= 2), ratio != 1
    bounds = [(0, len(items))]
    if len(items) > STRETCH:
        size = STRETCH // count
        begins = [int(rng.integers(part[0], part[-1] + 2 - size)) for part in _parts(items, count)]
        bounds = [(begin, begin + size) for begin in begins] + bounds
    some = False
    for begin, end in bounds:
        if some and end - begin == len(items):
            return  # the whole row only where its stretches gave nothing
        part = items[begin:end]
        steps = np.diff(part, prepend=part[:1]) if rising else part
        bits = _bits(steps) * changed[begin:end] * credit
        wanted = count if end - begin == len(items) else 1
        for first, last in _spans(bits, usable[begin:end], row.itemsize, wanted, rng):
            some = True
            yield part[first:last].tobytes()


def _parts(items: np.ndarray, count: int) -> list[np.ndarray]:
    return np.array_split(np.arange(len(items)), count)


def _bits(items: np.ndarray) -> np.ndarray:
    """Return ``-log2 p`` of each item, with p its share among ``items``."""
    _, group, counts = np.unique(items, return_inverse=True, return_counts=True)
    information: np.ndarray = -np.log2(counts / max(1, len(items)))
    return information[group.reshape(-1)]


def _spans(
    bits: np.ndarray, usable: np.ndarray, size: int, count: int, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """Yield from each of ``count`` parts one of the shortest spans that carry `BITS`."""
    carried = np.concatenate([[0.0], np.cumsum(bits)])
    broken = np.concatenate([[0], np.cumsum(~usable)])
    starts = np.arange(len(bits))
    ends = np.searchsorted(carried, carried[:-1] + BITS)
    ends = np.maximum(ends, starts + -(-SHORTEST // size))
    inside = (ends <= len(bits)) & ((ends - starts) * size <= LONGEST)
    starts, ends = starts[inside], ends[inside]
    whole = broken[ends] == broken[starts]
    starts, ends = starts[whole], ends[whole]
    for part in _parts(bits, count):
        here = np.flatnonzero((starts >= part[0]) & (starts <= part[-1])) if len(part) else part
        if len(here):
            spans = ends[here] - starts[here]
            chosen = rng.choice(here[spans == spans.min()])
            yield int(starts[chosen]), int(ends[chosen])
