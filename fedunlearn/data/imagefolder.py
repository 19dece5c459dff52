"""Data sets as folders of image files, one folder a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.data.dataset import Dataset
from fedunlearn.data.images import decode
from fedunlearn.data.listed import listed, tell_passed_over
from fedunlearn.data.stored import SplitShare, Stored, assemble, folder, split

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Other files are passed over, and counted."""


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Image files in ``root/train/<class>`` and ``root/test/<class>``, or all in ``root/<class>``.

    The split is the given one where both ``train`` and ``test`` are folders of ``root``, else a
    seeded one. Labels number the classes in the order of their names.
    """

    root: str | None = None
    """The folder; must be set."""
    size: Count | None = None
    """Height and width in pixels to resize to; None leaves images as they are."""
    channels: Literal[1, 3] | None = None
    """1 makes images grey, 3 makes them RGB; None leaves them as they are."""
    test_share: SplitShare = 0.2
    """Share of the records to test on, where the folders give no split."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def load(self) -> Dataset:
        """Read the data set; raise `Refused` where files are missing or unreadable.

        What is passed over is told: other files than images, and folders within those of classes.
        """
        root = folder(self.root)
        given = (root / "train").is_dir() and (root / "test").is_dir()
        sides = [root / "train", root / "test"] if given else [root]
        classes = _classes(sides[0])
        if given:
            _require_same(sides[1], classes)
        held = [_images(side, classes) for side in sides]
        read = [path for side in held for _, path in side]
        tell_passed_over(root, _others(root, given, sides, set(read)))
        pixels = decode(
            ((f"{path} (class {classes[label]})", path) for side in held for label, path in side),
            len(read),
            self.size,
            self.channels,
        )
        labels = [np.array([label for label, _ in side]) for side in held]
        parts = np.split(pixels, [len(labels[0])]) if given else [pixels]
        stored = [
            Stored(part, numbers, str(side))
            for part, numbers, side in zip(parts, labels, sides, strict=True)
        ]
        train, test = stored if given else split(stored[0], self.test_share, classes)
        return assemble(train, test, classes)


def _classes(root: Path) -> tuple[str, ...]:
    classes = tuple(sorted(entry.name for entry in root.iterdir() if _is_class(entry)))
    if not classes:
        raise Refused(f"{root} holds no folders; there must be one for each class.")
    return classes


def _require_same(root: Path, classes: tuple[str, ...]) -> None:
    odd = sorted(set(_classes(root)).symmetric_difference(classes))
    if odd:
        are = "is" if len(odd) == 1 else "are"
        raise Refused(
            f"{root} and its sibling train must hold the same class folders; {listed(odd)} {are} "
            "in only one of them."
        )


def _images(root: Path, classes: tuple[str, ...]) -> list[tuple[int, Path]]:
    """Return label and path of each image, class by class; raise `Refused` for classes without."""
    found = [
        (label, path)
        for label, name in enumerate(classes)
        for path in sorted((root / name).iterdir())
        if path.suffix.lower() in SUFFIXES and not path.is_dir()
    ]
    held = {label for label, _ in found}
    empty = [name for label, name in enumerate(classes) if label not in held]
    if empty:
        which = (
            f"folder {root / empty[0]} holds"
            if len(empty) == 1
            else (f"folders {listed(empty)} of {root} hold")
        )
        raise Refused(f"The class {which} no images; a given split needs both train and test.")
    return found


def _others(root: Path, given: bool, sides: Sequence[Path], read: set[Path]) -> list[Path]:
    """Return what lies in ``root``, its sides and their classes, and is no part of the data."""
    classes = [path for side in sides for path in side.iterdir() if _is_class(path)]
    looked = [*([root] if given else []), *sides, *classes]
    there = {path for place in looked for path in place.iterdir()}
    return sorted(there - read - {*classes} - {*sides})


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")
