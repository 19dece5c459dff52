"""Taking directions out of updates, at the size of real models.

Float32 is too coarse for the products of nearly parallel gradients, and a copy of all updates in
float64 too large. So all sums are formed in float64, over one block of columns after another.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**16
"""Columns at a time: with 100 clients a block takes 52 MB in float64."""

RCOND = 1e-12
"""Eigenvalues below this share of the largest count as zero."""

DEGENERATE = 1e-3
"""What keeps less than this share of its length points nowhere: stretched, it would be noise."""


def orthogonal(vector: Tensor, rows: Tensor) -> Tensor:
    """Return ``vector`` without all that it shares with ``rows``, at its old length.

    ``d = v - G^T (G G^T)^+ G v``, then ``d |v| / |d|``. v is ``vector`` [p], G holds ``rows``
    [k, p]; their lengths do not matter. Zero where ``|d| < 1e-3 |v|``.
    """
    inverse = _inverse(_gram(rows))
    rest = vector.double()
    for _ in range(2):  # the second time takes out what rounding left of the first
        weights = inverse @ _products(rows, rest)
        rest = torch.cat([rest[part] - weights @ block for part, block in _blocks(rows)])
    length, left = vector.double().norm(), rest.norm()
    if left <= DEGENERATE * length:
        return torch.zeros_like(vector)
    stretched: Tensor = (rest * (length / left)).to(vector.dtype)
    return stretched


def deflect(rows: Tensor, direction: Tensor) -> None:
    """Take ``direction`` [p] out of each of ``rows`` [k, p] in place, and restore their lengths.

    ``g' = g - (g . a / |a|^2) a``, then ``g' |g| / |g'|``. A row becomes zero where
    ``|g'| < 1e-3 |g|``; all stay as they are where a, ``direction``, is zero.
    """
    along = direction.double()
    square = along.square().sum()
    if not square:
        return
    shared = _products(rows, along)
    squares = torch.zeros_like(shared)
    for _, block in _blocks(rows):
        squares += block.square().sum(dim=1)
    left = (1 - shared.square() / (squares * square)).clamp_min(0).sqrt()
    stretch = torch.where(left > DEGENERATE, 1 / left, 0)[:, None]  # 0, too, for rows of zero
    for part, block in _blocks(rows):
        rows[:, part] = ((block - torch.outer(shared / square, along[part])) * stretch).to(rows)


def _blocks(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of columns in float64, and where they are."""
    for start in range(0, rows.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        yield part, rows[:, part].double()


def _gram(rows: Tensor) -> Tensor:
    """Return ``G G^T``, [k, k]."""
    gram = rows.new_zeros(len(rows), len(rows), dtype=torch.float64)
    for _, block in _blocks(rows):
        gram += block @ block.T
    return gram


def _products(rows: Tensor, vector: Tensor) -> Tensor:
    """Return ``G v``, [k]."""
    products = vector.new_zeros(len(rows))
    for part, block in _blocks(rows):
        products += block @ vector[part]
    return products


def _inverse(gram: Tensor) -> Tensor:
    """Return the pseudo-inverse of ``G G^T`` [k, k], whatever the lengths of the rows of G.

    For projections only: it is that of unit rows, scaled back. Rows of length zero count for
    nothing.
    """
    lengths = gram.diagonal().sqrt()
    scale = torch.where(lengths > 0, 1 / lengths, 0)
    values, vectors = torch.linalg.eigh(gram * torch.outer(scale, scale))
    regular = values > RCOND * values.max() if len(values) else values > 0
    kept = vectors[:, regular] * scale[:, None]
    inverse: Tensor = (kept / values[regular]) @ kept.T
    return inverse
