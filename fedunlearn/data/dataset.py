"""A data set is arrays in memory."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fedunlearn.models import Shape


@dataclass(frozen=True, slots=True)
class Records:
    """Labelled images."""

    images: Tensor
    """[n, c, h, w] float32, pixels in [0, 1]."""
    labels: Tensor
    """[n] int64, from 0."""

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.labels)

    def take(self, rows: Tensor) -> "Records":
        """Return copies of the records at ``rows`` (numbers or a mask)."""
        return Records(self.images[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Dataset:
    """Records to be divided among clients, and the test records of the server."""

    train: Records
    test: Records
    classes: tuple[str, ...]
    """The name of each label."""

    @property
    def shape(self) -> Shape:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


class DatasetSource(Protocol):
    """Where a data set comes from: a frozen, hashable dataclass, named in conf/dataset."""

    def __hash__(self) -> int:
        """Equal sources hash alike, so that a process reads each once."""

    def load(self) -> Dataset:
        """Read the data set; raise `Refused` where files are missing or unreadable."""
