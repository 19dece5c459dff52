"""NumPy files: arrays of inputs, labels and owners, as one's own programs save them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch

from fedunlearn import checks, files
from fedunlearn.checks import Count, Refused, nearest
from fedunlearn.data.dataset import Dataset, Owners, Records
from fedunlearn.data.stored import SplitShare, scale, split_rows
from fedunlearn.data.table_encoding import as_text, in_order

Array = npt.NDArray[Any]

KNOWN = ("x", "y", "owner", "x_test", "y_test")
"""The arrays that are read, by their names in the file."""


@dataclass(frozen=True, slots=True)
class NumpyFile:
    """A file of `numpy.savez` with arrays x [n, ...] and y [n], and owner [n] where there is one.

    Test records are x_test and y_test, or a share of the others. Numbers are taken as they are;
    bytes [n, h, w, c] with one or three channels are images, and become [n, c, h, w] from 0 to 1;
    other whole numbers are tokens. Labels and owners are numbers or text.
    """

    path: str | None = None
    """The file, .npz; must be set."""
    vocabulary: Count | None = None
    """How many different tokens there are; None: the largest one, and one more."""
    test_share: SplitShare = 0.2
    """Share of the records to test on, each class in proportion, where the file has no others."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def load(self) -> Dataset:
        """Read the data set; raise `Refused` for arrays that cannot serve."""
        if not self.path:
            raise Refused("dataset.path is not set: name the .npz file.")
        arrays = _read(Path(self.path).expanduser())
        _check(arrays, self.path)
        names = in_order(_names(arrays["y"]))
        train, test = self._sides(arrays, names)
        inputs = [_inputs(arrays[key][rows]) for key, rows in (train, test)]
        levels: tuple[int, ...] = ()
        if inputs[0].dtype == torch.int64:
            levels = (self.vocabulary or 1 + max(int(side.max()) for side in inputs),)
        labels = (_numbers(arrays[f"y{key[1:]}"][rows], names) for key, rows in (train, test))
        shown, tested = map(Records, inputs, labels)
        owners = arrays.get("owner")
        held = None if owners is None else _owners(owners[train[1]])
        return Dataset(shown, tested, names, levels, held)

    def _sides(
        self, arrays: Mapping[str, Array], names: tuple[str, ...]
    ) -> tuple[tuple[str, Array], tuple[str, Array]]:
        """Return which rows of which array are for training, and which for testing."""
        if "x_test" in arrays:
            return ("x", np.arange(len(arrays["x"]))), ("x_test", np.arange(len(arrays["x_test"])))
        labels = _numbers(arrays["y"], names).numpy()
        train, test = split_rows(labels, self.test_share, names, str(self.path))
        return ("x", train), ("x", test)


def _read(path: Path) -> dict[str, Array]:
    try:
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.ndarray):
            raise ValueError("it is a single array")
        with held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise Refused(
            f"dataset.path={path} cannot be read: {files.reason(error)}. It must be a file of "
            "numpy.savez without objects."
        ) from error


def _check(arrays: Mapping[str, Array], path: str) -> None:
    """Raise `Refused` for arrays that are missing, unknown or of other lengths."""
    needed = ["x", "y"] + (["x_test", "y_test"] if arrays.keys() & {"x_test", "y_test"} else [])
    for name in needed:
        if name not in arrays:
            raise Refused(f"{path} has no array {name}; it has {', '.join(arrays)}.")
    for name in arrays:
        if name not in KNOWN:
            raise Refused(f"{path} has an array {name}, which nothing reads{nearest(name, KNOWN)}")
    for name, other in (("y", "x"), ("owner", "x"), ("y_test", "x_test")):
        if name not in arrays:
            continue
        if arrays[name].ndim != 1:
            raise Refused(
                f"The array {name} of {path} has shape {arrays[name].shape}; it must be [n]. "
                "Several labels of a record at once (multi-label) cannot be learnt."
            )
        if len(arrays[name]) != len(arrays[other]):
            raise Refused(
                f"{path} has {len(arrays[name])} values in {name}, but {len(arrays[other])} "
                f"records in {other}."
            )
    if np.issubdtype(arrays["y"].dtype, np.floating) and (arrays["y"] % 1).any():
        raise Refused(
            f"The array y of {path} holds amounts, which are not predicted (regression); cut them "
            "into classes."
        )


def _names(values: Array) -> list[str]:
    """Return the names of labels or owners, one for each."""
    plain = values.astype(object) if values.dtype.kind in "USO" else values.astype(np.float64)
    return [str(name) for name in as_text(plain)]


def _numbers(values: Array, names: tuple[str, ...]) -> torch.Tensor:
    places = {name: number for number, name in enumerate(names)}
    different, where = np.unique(values, return_inverse=True)
    new = [name for name in _names(different) if name not in places]
    if new:
        raise Refused(f"Labels {', '.join(new[:3])} of y_test occur in no training record.")
    numbers = np.array([places[name] for name in _names(different)], np.int64)
    return torch.from_numpy(numbers[where.reshape(-1)])


def _owners(values: Array) -> Owners:
    names = in_order(_names(np.unique(values)))
    return Owners(_numbers(values, names), names)


def _inputs(held: Array) -> torch.Tensor:
    """Return records' inputs in one of the types that nets take."""
    if held.dtype == np.uint8 and held.ndim == 4 and held.shape[-1] in (1, 3):
        return scale(held, 255)
    kind = np.int64 if held.dtype.kind in "iub" else np.float32
    return torch.from_numpy(np.ascontiguousarray(held, kind))
