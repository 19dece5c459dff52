"""Pixels and labels as stored, and how they become a checked `Dataset`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedunlearn import randomness
from fedunlearn.checks import Number, Refused
from fedunlearn.data.dataset import Dataset, Records
from fedunlearn.data.listed import listed
from fedunlearn.randomness import Stream

SplitShare = Annotated[float, Number(above=0, at_most=0.9)]
"""The share of the records to test on."""

SPLIT_SEED = 0
"""Seeds splits of data sets: never the run's seed, so all runs share a test set."""


@dataclass(frozen=True)
class Stored:
    """Labelled images before they are checked and scaled."""

    pixels: npt.NDArray[Any]
    """[n, h, w, c], from 0 to ``white``."""
    labels: npt.NDArray[Any]
    """[n], whole numbers from 0."""
    where: str
    """The file or folder that refusals name."""
    white: float = 255
    """The pixel value of full intensity."""

    def take(self, rows: npt.NDArray[np.int64]) -> "Stored":
        """Return the records at ``rows``, in that order."""
        return Stored(self.pixels[rows], self.labels[rows], self.where, self.white)


def assemble(train: Stored, test: Stored, classes: tuple[str, ...]) -> Dataset:
    """Scale pixels to [0, 1] and make a data set.

    Raises `Refused` for no records at all, unequal numbers of images and labels, labels outside
    ``0 … len(classes) - 1``, pixels outside their range (NaN is), and unlike image shapes.
    """
    for stored in (train, test):
        check_labels(stored.labels, len(stored.pixels), len(classes), stored.where)
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        raise Refused(
            f"Images (height, width, channels) are {train.pixels.shape[1:]} in {train.where} but "
            f"{test.pixels.shape[1:]} in {test.where}; set dataset.size and dataset.channels, or "
            "convert the files."
        )
    return Dataset(_records(train), _records(test), classes)


def check_labels(labels: npt.NDArray[Any], images: int, classes: int, where: str) -> None:
    """Raise `Refused` unless there is one label in ``0 … classes - 1`` for each of the images."""
    if images == 0:
        raise Refused(f"{where} holds no records.")
    if len(labels) != images:
        raise Refused(f"{where} holds {images} images but {len(labels)} labels.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise Refused(
            f"The labels in {where} are {labels.dtype}; they must be whole numbers."
            f"{number_them(labels)}"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise Refused(
            f"The labels in {where} go from {lowest} to {highest}; with {classes} classes they "
            f"must lie in 0 … {classes - 1}."
        )


def number_them(labels: npt.NDArray[Any]) -> str:
    """Return what to do about labels that are text; nothing where they are none."""
    if labels.dtype.kind not in "OUSTV":
        return ""
    names = listed(repr(str(name)) for name in np.unique(labels.astype(str)))
    return (
        f" Number the classes ({names}) from 0 in the order of their names, labels = "
        "numpy.unique(names, return_inverse=True)[1], and name them in dataset.classes."
    )


def _records(stored: Stored) -> Records:
    images = scale(stored.pixels, stored.white)
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):  # so written, NaN fails too
        raise Refused(
            f"Pixels in {stored.where} go from {low * stored.white:g} to {high * stored.white:g}; "
            f"they must lie in 0 … {stored.white:g}."
        )
    return Records(images, torch.from_numpy(stored.labels.astype(np.int64)))


def scale(pixels: npt.NDArray[Any], white: float) -> Tensor:
    """Turn pixels [n, h, w, c] into images [n, c, h, w] float32: ``x / white``."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return images.to(torch.float32, memory_format=torch.contiguous_format).div_(white)


def split(stored: Stored, test_share: float, classes: Sequence[str] = ()) -> tuple[Stored, Stored]:
    """Split into train and test records, each class in proportion: the same for every run.

    As `split_rows`.
    """
    rows = split_rows(stored.labels, test_share, classes, stored.where)
    train, test = map(stored.take, rows)
    return train, test


def split_rows(
    labels: npt.NDArray[Any], test_share: float, classes: Sequence[str], where: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return which records are for training and for testing, each class in proportion.

    The test set gets ``ceil(test_share * n)`` of n records, in every run the same. Raises `Refused`
    where a class has too few records to be on either side; ``classes`` names those with a single
    one.
    """
    from sklearn.model_selection import train_test_split  # a second that other sources spare

    try:
        train, test = train_test_split(
            np.arange(len(labels)),
            test_size=test_share,
            stratify=labels,
            random_state=SPLIT_SEED,
        )
    except ValueError as error:
        raise Refused(
            f"{where} holds too few records for a test share of {test_share:g}: every "
            f"class needs at least one on either side{_single(labels, classes)}. Add records"
            " or change dataset.test_share."
        ) from error
    return np.sort(train), np.sort(test)


def _single(labels: npt.NDArray[Any], classes: Sequence[str]) -> str:
    """Return which classes have one record alone, for the end of a clause."""
    names, counts = np.unique(labels, return_counts=True)
    alone = [classes[n] if classes else str(n) for n in names[counts == 1]]
    return f", but there is one alone of {listed(alone)}" if alone else ""


def sample(records: int, limit: int | None) -> npt.NDArray[np.int64]:
    """Return which of ``records`` to keep: all in order, or the first ``limit`` of a fixed shuffle.

    The shuffle is the same in all runs, and a smaller limit keeps part of what a larger one does.
    """
    if limit is None:
        return np.arange(records)
    return randomness.rng(0, Stream.LIMIT).permutation(records)[:limit]


def fifth(limit: int | None) -> int | None:
    """Return the limit of the test set: a fifth of the training set's, rounded up."""
    return None if limit is None else -(-limit // 5)


def folder(root: str | None) -> Path:
    """Return ``dataset.root`` as a path; raise `Refused` where it is unset or no folder."""
    if not root:
        raise Refused("dataset.root is not set: name the folder that holds the data set.")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise Refused(f"dataset.root={root} is not a folder.")
    return path
