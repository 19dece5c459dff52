"""Data sets of images in the manner of Hugging Face: Parquet files, or what datasets saves."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.data.columns import Columns, find, joined, others, read_file
from fedunlearn.data.dataset import Dataset, Owners
from fedunlearn.data.images import decode
from fedunlearn.data.listed import tell_passed_over
from fedunlearn.data.stored import (
    Stored,
    assemble,
    check_labels,
    fifth,
    folder,
    sample,
)
from fedunlearn.data.table_encoding import in_order


@dataclass(frozen=True, slots=True)
class Parquet:
    """A folder of Parquet files with one encoded image and one label a row.

    The files of a side are ``<side>*.parquet`` in ``root`` or else in ``root/data``, or else the
    Arrow files ``<side>/*.arrow`` of `datasets.save_to_disk`, with which flwr-datasets work; read
    in the order of their names. The image column holds bytes, or a struct with a field ``bytes``.
    """

    root: str | None = None
    """Folder that holds the files, itself or in ``data/``; must be set."""
    train: str = "train"
    """How the names of the training files begin."""
    test: str = "test"
    """How the names of the test files begin."""
    image: str | None = None
    """Column of encoded images; None takes image or img."""
    label: str | None = None
    """Column of labels from 0; None takes label, labels or fine_label."""
    owner: str | None = None
    """Column that says whose record it is, for partition=natural; None: nobody's."""
    classes: tuple[str, ...] | None = None
    """Names of the classes; None takes those in the files, else the numbers."""
    size: Count | None = None
    """Height and width in pixels to resize to; None leaves images as they are."""
    channels: Literal[1, 3] | None = None
    """1 makes images grey, 3 makes them RGB; None leaves them as they are."""
    limit: Count | None = None
    """Train records to keep, for quick trials; the test set keeps a fifth as many; None: all."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` for values out of range."""
        checks.fields(self)
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(self.classes))

    def found(self) -> bool:
        """Return whether there is a file for training and one for testing."""
        root = Path(self.root or "").expanduser()
        return bool(find(root, self.train) and find(root, self.test))

    def load(self) -> Dataset:
        """Read the data set; raise `Refused` where files are missing or unreadable."""
        root = folder(self.root)
        found = [self._found(root, side) for side in (self.train, self.test)]
        tell_passed_over(root, others(root, chain.from_iterable(found)))
        sides = [
            joined([read_file(file, *self._columns(side)) for file in paths], root / f"{side}*")
            for paths, side in zip(found, (self.train, self.test), strict=True)
        ]
        classes = self.classes or sides[0].names or _numbered(sides[0])
        for side in sides:  # all rows, also those that the limit leaves out
            check_labels(side.labels, len(side.images), len(classes), side.where)
        limits = (self.limit, fifth(self.limit))
        rows = [sample(len(s.labels), limit) for s, limit in zip(sides, limits, strict=True)]
        encoded = (side.encoded(kept, classes) for side, kept in zip(sides, rows, strict=True))
        count = sum(map(len, rows))
        pixels = decode(chain.from_iterable(encoded), count, self.size, self.channels)
        parts = np.split(pixels, [len(rows[0])])
        train, test = (
            Stored(part, side.labels[kept], side.where)
            for part, side, kept in zip(parts, sides, rows, strict=True)
        )
        made = assemble(train, test, classes)
        owners = sides[0].owners
        return made if owners is None else replace(made, owners=_owners(owners[rows[0]]))

    def _columns(self, side: str) -> tuple[str | None, ...]:
        """Return the columns to read; only those who train own records."""
        return self.image, self.label, self.owner if side == self.train else None

    def _found(self, root: Path, side: str) -> list[Path]:
        paths = find(root, side)
        if not paths:
            raise Refused(
                f"There is no {root / side}*.parquet, nor one in {root / 'data'}; set dataset.root"
                " to the folder of the files, dataset.train and dataset.test to how their names "
                "begin."
            )
        return paths


def _owners(values: npt.NDArray[Any]) -> Owners:
    """Return the owners of the training records, in the order of their names."""
    names = in_order(values.tolist())
    places = pd.Index(names).get_indexer(pd.Index(values)).astype(np.int64)
    return Owners(torch.from_numpy(places), names)


def _numbered(columns: Columns) -> tuple[str, ...]:
    """Return the numbers from 0 to the greatest label as class names; each must occur."""
    present = np.unique(columns.labels)
    if not np.array_equal(present, np.arange(len(present))):
        raise Refused(
            f"The {len(present)} different labels in {columns.where} go from {present[0]} to "
            f"{present[-1]}; number them from 0 without a gap, or name them in dataset.classes."
        )
    return tuple(str(number) for number in range(len(present)))
