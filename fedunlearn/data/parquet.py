"""Data sets as Parquet files in the manner of Hugging Face."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.data.columns import Columns, find, joined, read_file
from fedunlearn.data.dataset import Dataset
from fedunlearn.data.images import decode
from fedunlearn.data.stored import (
    Stored,
    assemble,
    check_labels,
    fifth,
    folder,
    sample,
)


@dataclass(frozen=True, slots=True)
class Parquet:
    """A folder of Parquet files with one encoded image and one label a row.

    The files of a side are ``<side>*.parquet`` in ``root`` or else in ``root/data``, read in the
    order of their names. The image column holds bytes, or a struct with a field ``bytes``.
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
        train, test = self._columns(self.train), self._columns(self.test)
        classes = self.classes or train.names or _numbered(train)
        for side in (train, test):  # all rows, also those that the limit leaves out
            check_labels(side.labels, len(side.images), len(classes), side.where)
        return assemble(
            self._decoded(train, self.limit),
            self._decoded(test, fifth(self.limit)),
            classes,
        )

    def _columns(self, side: str) -> Columns:
        root = folder(self.root)
        files = find(root, side)
        if not files:
            raise Refused(
                f"There is no {root / side}*.parquet, nor one in {root / 'data'}; set dataset.root"
                " to the folder of the files, dataset.train and dataset.test to how their names "
                "begin."
            )
        return joined(
            [read_file(file, self.image, self.label) for file in files], root / f"{side}*"
        )

    def _decoded(self, columns: Columns, limit: int | None) -> Stored:
        rows = sample(len(columns.labels), limit)
        pixels = decode(columns.encoded(rows), len(rows), self.size, self.channels)
        return Stored(pixels, columns.labels[rows], columns.where)


def _numbered(columns: Columns) -> tuple[str, ...]:
    """Return the numbers from 0 to the greatest label as class names; each must occur."""
    present = np.unique(columns.labels)
    if not np.array_equal(present, np.arange(len(present))):
        raise Refused(
            f"The {len(present)} different labels in {columns.where} go from {present[0]} to "
            f"{present[-1]}; number them from 0 without a gap, or name them in dataset.classes."
        )
    return tuple(str(number) for number in range(len(present)))
