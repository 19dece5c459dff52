"""What must hold of the arrays that anybody's `load` returns: each failure is one sentence."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedunlearn.checks import Refused, shown
from fedunlearn.data.dataset import Dataset, Owners, Records
from fedunlearn.data.stored import number_them


def check_dataset(dataset: object, source: object) -> Dataset:
    """Return ``dataset``, which ``source`` loaded; raise `Refused` for what no net can be given.

    Both sides need inputs [n, *shape] of float32 or int64, labels [n] of int64 in ``0 … classes -
    1`` and two classes; at least one of each and as many of one as of the other, in host memory.
    Values that are counted lie in ``0 … levels - 1``. Owners are those of the training records.
    """
    where = f"dataset={type(source).__name__}"
    if not isinstance(dataset, Dataset):
        raise Refused(f"{where}: load() returned a {type(dataset).__name__}, not a Dataset.")
    if len(dataset.classes) < 2:
        raise Refused(
            f"{where} names {len(dataset.classes)} classes; a classifier needs two or more names."
        )
    for side, records in (("training", dataset.train), ("test", dataset.test)):
        _check_side(records, len(dataset.classes), f"{where}: the {side}")
    train, test = dataset.train.inputs, dataset.test.inputs
    if train.shape[1:] != test.shape[1:]:
        what = _called(train)
        raise Refused(
            f"{where}: training {what} are {tuple(train.shape[1:])} but test {what} "
            f"{tuple(test.shape[1:])}; make them equal."
        )
    if train.dtype != test.dtype:
        raise Refused(
            f"{where}: training inputs are {train.dtype} but test inputs {test.dtype}; make them "
            "equal."
        )
    _check_levels(dataset, where)
    _check_owners(dataset, where)
    return dataset


def check_values(dataset: Dataset, source: object) -> None:
    """Raise `Refused` unless inputs are finite, pixels from 0 to 1, and counts below their levels.

    Pixels are inputs [n, c, h, w] without levels.
    """
    for side, records in (("training", dataset.train), ("test", dataset.test)):
        where = f"dataset={type(source).__name__}: "
        images = records.inputs.dim() == 4 and not dataset.levels
        where += f"pixels of the {side} images" if images else f"inputs of the {side} records"
        low, high = map(float, records.inputs.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            wrong = int((~records.inputs.isfinite()).flatten(1).any(dim=1).sum())
            raise Refused(
                f"{where} are NaN or infinite in {wrong} of {len(records)} records. Leave those "
                "records out, or fill in what is missing."
            )
        if images and not (low >= 0 and high <= 1):
            raise Refused(
                f"{where} go from {low:g} to {high:g}; they must lie in 0 … 1. Divide bytes by "
                "255; what else a net wants of them, such as standardising, belongs into the net."
            )
        _check_counted(records.inputs, dataset.levels, where)


def _check_levels(dataset: Dataset, where: str) -> None:
    """Refuse levels that say of no input, or not of every column, how many values it takes."""
    inputs, levels = dataset.train.inputs, dataset.levels
    if any(not isinstance(count, int) or count < 0 for count in levels):
        raise Refused(f"{where}: levels must be whole numbers from 0, not {shown(levels)}.")
    if inputs.dtype == torch.int64 and (not levels or 0 in levels):
        raise Refused(
            f"{where}: inputs are int64, which are tokens or codes, but levels are {levels}. Name "
            "how many different ones there are in Dataset.levels, or convert them by "
            "inputs.float()."
        )
    if len(levels) > 1 and tuple(inputs.shape[1:]) != (len(levels),):
        raise Refused(
            f"{where} names levels of {len(levels)} columns, but records are "
            f"{tuple(inputs.shape[1:])}. Name one for each column, or a single one for all tokens."
        )


def _check_owners(dataset: Dataset, where: str) -> None:
    """Refuse owners that are not one of those named for each training record."""
    owners: object = dataset.owners
    if owners is None:
        return
    if not isinstance(owners, Owners) or not isinstance(owners.of, Tensor):
        raise Refused(f"{where}: owners are {shown(owners)}, not Owners of a tensor [n].")
    if owners.of.shape != (len(dataset.train),) or owners.of.dtype != torch.int64:
        raise Refused(
            f"{where}: owners.of must be int64 [{len(dataset.train)}], an owner's number for each "
            f"training record, not {owners.of.dtype} {list(owners.of.shape)}."
        )
    low, high = map(int, owners.of.aminmax())
    if low < 0 or high >= len(owners.names):
        raise Refused(
            f"{where}: owners go from {low} to {high}, but {len(owners.names)} are named; they "
            f"must lie in 0 … {len(owners.names) - 1}."
        )
    if len(set(owners.names)) < len(owners.names):
        twice = next(name for name in owners.names if owners.names.count(name) > 1)
        raise Refused(f"{where} names the owner {shown(twice)} twice; give each a name of its own.")


def _check_counted(inputs: Tensor, levels: Sequence[int], where: str) -> None:
    """Refuse codes that are not whole numbers from 0 below their column's ``levels``."""
    for column, count in enumerate(levels):
        if not count:
            continue
        codes = inputs if len(levels) == 1 else inputs[:, column]
        low, high = map(float, codes.aminmax())
        if low >= 0 and high < count and bool((codes == codes.floor()).all()):
            continue
        of = where if len(levels) == 1 else f"{where} in column {column}"
        raise Refused(
            f"{of} go from {low:g} to {high:g}; with {count} levels they must be whole numbers in "
            f"0 … {count - 1}. Number the values from 0, or raise the column's levels."
        )


def _called(inputs: Tensor) -> str:
    return "images [c, h, w]" if inputs.dim() == 4 else "inputs"


def _check_side(records: object, classes: int, which: str) -> None:
    if not isinstance(records, Records):
        raise Refused(f"{which} side is a {type(records).__name__}, not Records.")
    inputs: object = records.inputs
    labels: object = records.labels
    for what, held, dtypes, shape in (
        ("inputs", inputs, (torch.float32, torch.int64), "[n, …]"),
        ("labels", labels, (torch.int64,), "[n]"),
    ):
        if not isinstance(held, Tensor):
            raise Refused(
                f"{which} {what} are a {type(held).__name__}, not a tensor {shape}."
                f"{_text_remedy(held)}"
            )
        if held.dim() < 2 if what == "inputs" else held.dim() != 1:
            raise Refused(
                f"{which} {what} have shape {tuple(held.shape)}; they must be {shape}."
                f"{_shape_remedy(what, held)}"
            )
        if held.dtype not in dtypes:
            raise Refused(f"{which} {what} are {held.dtype}. {_remedy(what, held.dtype)}")
        if held.device.type != "cpu":
            raise Refused(f"{which} {what} lie on {held.device}; let load() leave them on the cpu.")
    if len(records.inputs) == 0:
        raise Refused(f"{which} side holds no records.")
    if len(records.inputs) != len(records.labels):
        raise Refused(
            f"{which} side holds {len(records.inputs)} inputs but {len(records.labels)} labels."
        )
    low, high = map(int, records.labels.aminmax())
    if low < 0 or high >= classes:
        raise Refused(
            f"{which} labels go from {low} to {high}; with {classes} classes they must lie in "
            f"0 … {classes - 1}. Subtract the lowest, or name every class."
        )


def _text_remedy(held: object) -> str:
    """Return what to do about labels that are text; nothing where they are none."""
    try:
        labels = np.asarray(held)
    except ValueError:  # rows of unlike lengths
        return ""
    return number_them(labels) if labels.dtype.kind in "US" and labels.ndim == 1 else ""


def _remedy(what: str, dtype: torch.dtype) -> str:
    if what == "labels":
        if dtype.is_floating_point:
            return (
                "They must be int64: numbers of classes are converted by labels.long(); amounts "
                "to be predicted (regression) are cut into classes first."
            )
        return "They must be int64: convert them by labels.long()."
    if dtype == torch.uint8:
        return "Images must be float32 from 0 to 1: convert them by images.float() / 255."
    return (
        "They must be float32, or int64 where they are tokens: convert them by inputs.float() or "
        "inputs.long()."
    )


def _shape_remedy(what: str, held: Tensor) -> str:
    """Return what to do about labels with a row each; nothing of others."""
    if what == "inputs":
        return " A single number a record is inputs[:, None]."
    if held.dim() != 2:
        return ""
    if len(held) and bool(((held != 0).sum(dim=1) == 1).all()):
        return " One-hot rows become numbers by labels.argmax(dim=1)."
    return " Records of several labels at once (multi-label) cannot be learnt; choose one of them."
