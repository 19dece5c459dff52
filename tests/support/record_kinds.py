"""Small federations of other records than images, and nets for them."""

from dataclasses import dataclass

import torch
from torch import nn

from fedunlearn.data import Dataset, Owners, Records

NAMES = ("Ann", "Bob", "Cleo", "Dan")
"""The owners."""

WORDS = 12
"""Of the tokens' vocabulary."""

LEVELS = (0, 0, 5, 3)
"""Of the table's columns."""


@dataclass(frozen=True)
class Synthetic:
    """Records of three classes whose inputs show the class, a quarter held by each of four."""

    kind: str = "tokens"
    """Which inputs: tokens, table or sensor."""
    records: int = 160

    def load(self) -> Dataset:
        """Make the data set."""
        draws = torch.Generator().manual_seed(3)
        labels = torch.arange(self.records + 60) % 3
        inputs = KINDS[self.kind](labels, draws)
        train, test = labels.split([self.records, 60])
        owners = Owners(torch.arange(self.records) * 4 // self.records, NAMES)
        shown = inputs.split([self.records, 60])
        levels = {"tokens": (WORDS,), "table": LEVELS}.get(self.kind, ())
        sides = (Records(shown[0], train), Records(shown[1], test))
        return Dataset(*sides, ("a", "b", "c"), levels, owners)


def _tokens(labels, draws):
    drawn = torch.randint(WORDS, (len(labels), 6), generator=draws)
    drawn[:, 2] = labels
    return drawn


def _table(labels, draws):
    numbers = torch.randn(len(labels), 2, generator=draws) * 3 - 1
    codes = torch.randint(5, (len(labels), 1), generator=draws)
    return torch.cat([numbers, codes, labels[:, None]], dim=1).float()


def _sensor(labels, draws):
    noise = torch.randn(len(labels), 2, 12, generator=draws)
    steps = torch.arange(12)
    return noise / 2 + torch.sin(steps * (labels[:, None, None] + 1) / 2)


KINDS = {"tokens": _tokens, "table": _table, "sensor": _sensor}


class _Looked(nn.Module):
    """Embeddings of tokens, or of a table's columns beside its numbers, and a dense net."""

    def __init__(self, shape, classes):
        super().__init__()
        self.levels = shape.levels
        tables = [nn.Embedding(n, 4) for n in shape.levels if n]
        self.tables = nn.ModuleList(tables)
        width = 4 * shape[0] if len(tables) == 1 and len(shape.levels) == 1 else None
        width = width or 4 * len(tables) + shape.levels.count(0)
        self.hidden = nn.Linear(width, 16)
        self.last = nn.Linear(16, classes)

    def forward(self, inputs):
        if len(self.levels) == 1:
            parts = [self.tables[0](inputs).flatten(1)]
        else:
            counted = [place for place, n in enumerate(self.levels) if n]
            parts = [inputs[:, [place for place, n in enumerate(self.levels) if not n]]]
            parts += [
                table(inputs[:, place].long())
                for table, place in zip(self.tables, counted, strict=True)
            ]
        return self.last(torch.relu(self.hidden(torch.cat(parts, 1))))


class _Heard(nn.Sequential):
    """One convolution over time, and a dense layer."""

    def __init__(self, shape, classes):
        channels, steps = shape
        super().__init__(
            nn.Conv1d(channels, 6, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(6 * steps, classes),
        )  # fmt: skip


@dataclass(frozen=True)
class SmallNet:
    """A small net for records of any of the kinds."""

    def __call__(self, shape, classes):
        """Build it."""
        return (_Looked if shape.levels else _Heard)(shape, classes)
