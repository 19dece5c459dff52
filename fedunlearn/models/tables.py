"""A net of tables: columns of categories are looked up, columns of numbers taken as they are."""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from fedunlearn import checks
from fedunlearn.checks import Count
from fedunlearn.models.shapes import Shape, require_kind


@dataclass(frozen=True, slots=True)
class Tabular:
    """Categories by embedding, beside the numbers, into fully connected layers with ReLU.

    A column of n categories becomes ``min(embedding, (n + 1) // 2)`` numbers.

    Guo, Berkhahn. Entity embeddings of categorical variables. 2016, arXiv 1604.06737.
    """

    hidden: tuple[Count, ...] = (64, 32)
    """Width of each hidden layer."""
    embedding: Count = 8
    """Numbers that a category becomes, at most."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` for values out of range."""
        checks.fields(self)
        object.__setattr__(self, "hidden", tuple(self.hidden))

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no row of a table."""
        require_kind("tabular", shape, "a table")
        columns = Columns(shape.levels or (0,) * shape[0], self.embedding)
        layers: list[nn.Module] = [columns]
        width = columns.width
        for outputs in self.hidden:
            layers += [nn.Linear(width, outputs), nn.ReLU()]
            width = outputs
        return nn.Sequential(*layers, nn.Linear(width, classes))


class Columns(nn.Module):
    """Rows [n, columns] as numbers [n, width]: those of the table first, then the categories'.

    All embeddings lie in one table, a width after another, so that one look-up serves all columns
    of a width.
    """

    def __init__(self, levels: tuple[int, ...], embedding: int) -> None:
        super().__init__()
        self.numbers = [column for column, count in enumerate(levels) if not count]
        by_width: dict[int, list[int]] = {}
        for column, count in enumerate(levels):
            if count:
                by_width.setdefault(min(embedding, (count + 1) // 2), []).append(column)
        self.columns = list(by_width.values())
        self.starts = [
            list(accumulate((levels[column] for column in columns[:-1]), initial=0))
            for columns in self.columns
        ]
        self.tables = nn.ModuleList(
            nn.Embedding(sum(levels[column] for column in columns), width)
            for width, columns in by_width.items()
        )
        self.width = len(self.numbers) + sum(w * len(each) for w, each in by_width.items())

    def forward(self, rows: Tensor) -> Tensor:
        """Return [n, width]."""
        parts = [rows[:, self.numbers]] if self.numbers else []
        for table, columns, starts in zip(self.tables, self.columns, self.starts, strict=True):
            codes = rows[:, columns].long() + torch.tensor(starts, device=rows.device)
            parts.append(table(codes).flatten(1))
        return torch.cat(parts, dim=1)
