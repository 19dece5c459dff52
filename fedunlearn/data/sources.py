"""The usual data sets: scikit-learn's digits, and what torchvision reads."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.data.archives import ARCHIVES, DIGITS
from fedunlearn.data.dataset import Dataset
from fedunlearn.data.parquet import Parquet
from fedunlearn.data.stored import SplitShare, Stored, assemble, fifth, sample, split

VARIABLE = "FEDUNLEARN_DATA"
"""The environment variable that stands in for an unset ``dataset.root``."""


@dataclass(frozen=True, slots=True)
class Digits:
    """scikit-learn's 1,797 handwritten digits, 1x8x8; they come with the library.

    With the default share 1,437 are for training and 360 for testing, in every run the same.
    """

    test_share: SplitShare = 0.2
    """Share of the records to test on, the same ones in every run."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def load(self) -> Dataset:
        """Read the data set."""
        from sklearn.datasets import load_digits  # a second that other sources spare

        digits = load_digits()
        stored = Stored(digits.images[..., None], digits.target, "scikit-learn's digits", white=16)
        return assemble(*split(stored, self.test_share, DIGITS), classes=DIGITS)


@dataclass(frozen=True, slots=True)
class Torchvision:
    """MNIST, Fashion-MNIST, CIFAR-10 or CIFAR-100, from torchvision's files or from Parquet.

    Looked for, in this order: torchvision's files in ``<root>/<name>``, the same in ``<root>``,
    and ``<root>/<name>/train*.parquet`` with ``test*.parquet``. Only ``download`` goes online.
    """

    name: Literal["mnist", "fashion_mnist", "cifar10", "cifar100"]
    """Which data set."""
    root: str | None = None
    """Folder that holds the data set's own; None: the environment variable FEDUNLEARN_DATA."""
    download: bool = False
    """Whether missing files are fetched into root."""
    limit: Count | None = None
    """Train records to keep, for quick trials; the test set keeps a fifth as many; None: all."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def load(self) -> Dataset:
        """Read the data set; raise `Refused` where files are missing or unreadable."""
        archive = ARCHIVES[self.name]
        root = self._root()
        folder = root / self.name
        fullest = min((folder, root), key=lambda place: len(archive.missing(place)))
        missing = archive.missing(fullest)
        if not missing:
            return self._read(fullest)
        parquet = Parquet(str(folder), classes=archive.classes, limit=self.limit)
        if parquet.found():
            return parquet.load()
        if self.download:
            return self._read(folder)
        raise Refused(
            f"dataset={self.name} is not there: {missing[0]} is missing, and so is "
            f"{folder / 'train*.parquet'}. Set dataset.root or {VARIABLE} to the folder that holds "
            f"them, or dataset.download=true."
        )

    def _root(self) -> Path:
        root = self.root or os.environ.get(VARIABLE)
        if not root:
            wanted = ARCHIVES[self.name].missing(Path(self.name))[0]
            raise Refused(
                f"dataset={self.name} is read from FOLDER/{wanted} and beside it, but no folder is "
                f"named: set dataset.root=FOLDER or the environment variable {VARIABLE}."
            )
        return Path(root).expanduser()

    def _read(self, root: Path) -> Dataset:
        from torchvision import datasets  # seconds of import that other sources spare

        archive = ARCHIVES[self.name]
        reader = getattr(datasets, archive.reader)
        try:
            train, test = (
                reader(root, train=part, download=self.download) for part in (True, False)
            )
        except Exception as error:  # its parsers assert, and pass on whatever went wrong inside
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            done = "downloaded to" if self.download else "read from"
            raise Refused(f"dataset={self.name} cannot be {done} {root}: {reason}.") from error
        return assemble(
            _stored(train, self.limit, f"the training files in {root}"),
            _stored(test, fifth(self.limit), f"the test files in {root}"),
            classes=archive.classes or tuple(train.classes),
        )


def _stored(read: Any, limit: int | None, where: str) -> Stored:
    pixels, labels = np.asarray(read.data), np.asarray(read.targets)
    if pixels.ndim == 3:  # grey images come without a channel
        pixels = pixels[..., None]
    stored = Stored(pixels, labels, where)
    return stored if limit is None else stored.take(sample(len(labels), limit))
