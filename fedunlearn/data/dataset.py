"""A data set is arrays in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from fedunlearn.models import Shape


@dataclass(frozen=True, slots=True)
class Records:
    """Labelled records: images, sequences, rows of a table."""

    inputs: Tensor
    """[n, *shape] float32 (pixels in [0, 1]: [n, c, h, w]) or int64 (tokens: [n, length])."""
    labels: Tensor
    """[n] int64, from 0."""

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.labels)

    def take(self, rows: Tensor) -> "Records":
        """Return copies of the records at ``rows`` (numbers or a mask)."""
        return Records(self.inputs[rows], self.labels[rows])

    def to(self, device: torch.device) -> "Records":
        """Return the records on ``device``; themselves where they already are there."""
        return Records(self.inputs.to(device), self.labels.to(device))

    @staticmethod
    def joined(parts: Iterable["Records"]) -> "Records":
        """Return copies of the records of all ``parts``, one after another."""
        held = list(parts)
        return Records(
            torch.cat([each.inputs for each in held]), torch.cat([each.labels for each in held])
        )


@dataclass(frozen=True)
class Shards:
    """The records of many clients, one client after another in the same two tensors."""

    records: Records
    bounds: tuple[int, ...]
    """Client i holds the records from ``bounds[i]`` to ``bounds[i + 1]``, [clients + 1]."""

    @classmethod
    def of(cls, parts: Sequence[Records]) -> "Shards":
        """Join the records of all clients."""
        bounds = accumulate((len(part) for part in parts), initial=0)
        return cls(Records.joined(parts), tuple(bounds))

    def span(self, client: int) -> range:
        """Return the numbers of a client's records."""
        return range(self.bounds[client], self.bounds[client + 1])

    def __len__(self) -> int:
        """Return the number of clients."""
        return len(self.bounds) - 1

    def __getitem__(self, client: int) -> Records:
        """Return a view of a client's records; raise IndexError for one who does not exist."""
        if not 0 <= client < len(self):
            raise IndexError(f"There is no client {client} among {len(self)}.")
        rows = slice(self.bounds[client], self.bounds[client + 1])
        return Records(self.records.inputs[rows], self.records.labels[rows])

    def __iter__(self) -> Iterator[Records]:
        """Go through the clients' records."""
        return (self[client] for client in range(len(self)))

    def to(self, device: torch.device) -> "Shards":
        """Return the same records on ``device``."""
        return Shards(self.records.to(device), self.bounds)


@dataclass(frozen=True, slots=True)
class Owners:
    """Who holds the training records by nature: people, hospitals, authors."""

    of: Tensor
    """[n] int64: the number of each training record's owner, from 0."""
    names: tuple[str, ...]
    """The name of each owner; people read it, and it is never sent."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Records to be divided among clients, and the test records of the server."""

    train: Records
    test: Records
    classes: tuple[str, ...]
    """The name of each label."""
    levels: tuple[int, ...] = ()
    """As `Shape.levels`: how many values an input can take, where they are counted."""
    owners: Owners | None = None
    """Who holds each training record, for `partition=natural`; None: nobody by nature."""

    @property
    def shape(self) -> Shape:
        """Sizes, type and levels of one record's input; of an image channels, height and width."""
        inputs = self.train.inputs
        return Shape(inputs.shape[1:], inputs.dtype, self.levels)


class DatasetSource(Protocol):
    """Where a data set comes from: a frozen, hashable dataclass, named in conf/dataset."""

    def __hash__(self) -> int:
        """Equal sources hash alike, so that a process reads each once."""

    def load(self) -> Dataset:
        """Read the data set; raise `Refused` where files are missing or unreadable."""
