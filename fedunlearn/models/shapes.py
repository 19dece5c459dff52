"""What goes into a net: sizes, type and, where values are counted, levels of one record."""

from collections.abc import Iterable

import torch
from torch import Tensor

from fedunlearn.checks import Refused


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

    @property
    def kind(self) -> str:
        """What such inputs are called: images, series, tokens, a table, or only records."""
        if self.levels:
            return "tokens" if len(self.levels) == 1 and self.dtype == torch.int64 else "a table"
        kinds = {3: "images", 2: "series", 1: "a table"}
        return kinds.get(len(self), "records") if self.dtype == torch.float32 else "records"


FITTING = {
    "images": ("cnn", "groupnorm_cnn", "torchvision", "mlp"),
    "series": ("conv1d", "gru", "lstm", "transformer", "mlp"),
    "tokens": ("gru", "lstm", "transformer"),
    "a table": ("tabular", "mlp"),
}
"""The models that ship, by the inputs that they are made for."""

WANTED = {
    "images": "images [channels, height, width]",
    "series": "series [channels, time]",
    "tokens": "sequences of tokens [length]",
    "a table": "rows of a table [columns]",
}
"""How inputs of each kind lie in a record."""


def require_kind(model: str, shape: Shape, *kinds: str) -> None:
    """Raise `Refused` unless ``shape`` is of one of ``kinds``, which ``model`` is made for.

    Without kinds, the model wants numbers, of whatever shape.
    """
    shape = shape if isinstance(shape, Shape) else Shape(shape)
    counted = shape.kind == "tokens" or any(levels > 2 for levels in shape.levels)
    if shape.kind in kinds or (not kinds and not counted):
        return
    wanted = " or ".join(WANTED[kind] for kind in kinds) or "numbers, no codes of categories"
    sizes = "x".join(map(str, shape)) or "one number"
    fitting = [f"model={name}" for name in FITTING.get(shape.kind, ("mlp",))]
    if counted:
        fitting = [name for name in fitting if name != "model=mlp"]
    called = WANTED.get(shape.kind, shape.kind)
    raise Refused(
        f"model={model} needs {wanted}; these records are {called} of {sizes}. "
        f"Use {' or '.join(fitting)}."
    )
