"""Data sets as folders of image files, one folder a class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.data.dataset import Dataset
from fedunlearn.data.images import decode
from fedunlearn.data.stored import SplitShare, Stored, assemble, folder, split

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Other files are passed over."""


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
        """Read the data set; raise `Refused` where files are missing or unreadable."""
        root = folder(self.root)
        sides = (root / "train", root / "test")
        given = all(side.is_dir() for side in sides)
        classes = _classes(sides[0] if given else root)
        if given:
            train, test = (self._read(side, classes) for side in sides)
        else:
            train, test = split(self._read(root, classes), self.test_share)
        return assemble(train, test, classes)

    def _read(self, root: Path, classes: tuple[str, ...]) -> Stored:
        if _classes(root) != classes:
            odd = min(set(_classes(root)).symmetric_difference(classes))
            raise Refused(
                f"{root} and its sibling train must hold the same class folders; {odd} is in only "
                "one of them."
            )
        files = [
            (label, file) for label, name in enumerate(classes) for file in _images(root / name)
        ]
        pixels = decode(
            ((str(file), file) for _, file in files), len(files), self.size, self.channels
        )
        return Stored(pixels, np.array([label for label, _ in files]), str(root))


def _classes(root: Path) -> tuple[str, ...]:
    names = (entry.name for entry in root.iterdir() if entry.is_dir())
    classes = tuple(sorted(name for name in names if not name.startswith(".")))
    if not classes:
        raise Refused(f"{root} holds no folders; there must be one for each class.")
    return classes


def _images(root: Path) -> list[Path]:
    images = sorted(file for file in root.iterdir() if file.suffix.lower() in SUFFIXES)
    if not images:
        raise Refused(
            f"The class folder {root} holds no images; a given split needs both train and test."
        )
    return images
