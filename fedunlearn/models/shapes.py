"""What goes into a net: sizes, type and, where values are counted, levels of one record."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Shape(tuple[int, ...]):
    """The sizes of one record's input, say (channels, height, width), with its type.

    It is a tuple of sizes, so that `torch.rand(8, *shape)` and ``channels, height, width = shape``
    read as they do with tensors. A net of numbers looks at the sizes alone; a net that looks
    things up in a table asks ``levels`` how long each table is.
    """

    dtype: torch.dtype
    """Of the inputs: float32 for numbers, int64 for sequences of tokens."""
    levels: tuple[int, ...]
    """How many values an input can take. Sequences of tokens: one number for all positions, the
    vocabulary. Tables: one a column, 0 for a column of numbers. Empty: all inputs are numbers."""

    def __new__(
        cls,
        sizes: Iterable[int],
        dtype: torch.dtype = torch.float32,
        levels: Iterable[int] = (),
    ) -> "Shape":
        """Make the shape of records of ``sizes``."""
        shape = super().__new__(cls, sizes)
        shape.dtype, shape.levels = dtype, tuple(levels)
        return shape

    def __getnewargs__(self) -> tuple[tuple[int, ...], torch.dtype, tuple[int, ...]]:
        """Return what a copy is made from."""
        return tuple(self), self.dtype, self.levels

    def drawn(self, records: int) -> Tensor:
        """Draw inputs [records, *sizes] that a net must be able to take, by torch's generator."""
        if not self.levels:
            return torch.rand(records, *self).to(self.dtype)
        if len(self.levels) == 1:
            return torch.randint(self.levels[0], (records, *self), dtype=self.dtype)
        columns = [
            torch.randint(levels, (records,)).to(self.dtype) if levels else torch.rand(records)
            for levels in self.levels
        ]
        return torch.stack(columns, dim=1)
