"""What must hold of the arrays that anybody's `load` returns: each failure is one sentence."""

import numpy as np
import torch
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data.dataset import Dataset, Records
from fedunlearn.data.stored import number_them


def check_dataset(dataset: object, source: object) -> Dataset:
    """Return ``dataset``, which ``source`` loaded; raise `Refused` for what no net can be given.

    Both sides need images [n, c, h, w] of float32 and labels [n] of int64 in ``0 … classes - 1``,
    at least one of each and as many of one as of the other, in host memory, and two classes.
    """
    where = f"dataset={type(source).__name__}"
    if not isinstance(dataset, Dataset):
        raise Refused(f"{where}: load() returned a {type(dataset).__name__}, not a Dataset.")
    if len(dataset.classes) < 2:
        raise Refused(
            f"{where} names {len(dataset.classes)} classes; a classifier needs two or more names."
        )
    _check_side(dataset.train, len(dataset.classes), f"{where}: the training")
    _check_side(dataset.test, len(dataset.classes), f"{where}: the test")
    shapes = dataset.train.inputs.shape[1:], dataset.test.inputs.shape[1:]
    if shapes[0] != shapes[1]:
        raise Refused(
            f"{where}: training images [c, h, w] are {tuple(shapes[0])} but test images "
            f"{tuple(shapes[1])}; make them equal."
        )
    return dataset


def check_pixels(dataset: Dataset, source: object) -> None:
    """Raise `Refused` unless all pixels are numbers from 0 to 1."""
    for side, records in (("training", dataset.train), ("test", dataset.test)):
        low, high = map(float, records.inputs.aminmax())
        if low >= 0 and high <= 1:  # so written, NaN fails too
            continue
        where = f"dataset={type(source).__name__}: pixels of the {side} images"
        wrong = int((~records.inputs.isfinite()).flatten(1).any(dim=1).sum())
        if wrong:
            raise Refused(
                f"{where} are NaN or infinite in {wrong} of {len(records)} records. Leave those "
                "records out, or fill in what is missing."
            )
        raise Refused(
            f"{where} go from {low:g} to {high:g}; they must lie in 0 … 1. Divide bytes by 255; "
            "what else a net wants of them, such as standardising, belongs into the net."
        )


def _check_side(records: object, classes: int, which: str) -> None:
    if not isinstance(records, Records):
        raise Refused(f"{which} side is a {type(records).__name__}, not Records.")
    images: object = records.inputs
    labels: object = records.labels
    for what, held, dtype, shape in (
        ("images", images, torch.float32, "[n, c, h, w]"),
        ("labels", labels, torch.int64, "[n]"),
    ):
        if not isinstance(held, Tensor):
            raise Refused(
                f"{which} {what} are a {type(held).__name__}, not a tensor {shape}."
                f"{_text_remedy(held)}"
            )
        if held.dim() != shape.count(",") + 1:
            raise Refused(f"{which} {what} have shape {tuple(held.shape)}; they must be {shape}.")
        if held.dtype != dtype:
            raise Refused(f"{which} {what} are {held.dtype}. {_remedy(what, held.dtype)}")
        if held.device.type != "cpu":
            raise Refused(f"{which} {what} lie on {held.device}; let load() leave them on the cpu.")
    if len(records.inputs) == 0:
        raise Refused(f"{which} side holds no records.")
    if len(records.inputs) != len(records.labels):
        raise Refused(
            f"{which} side holds {len(records.inputs)} images but {len(records.labels)} labels."
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
        return "They must be int64: convert them by labels.long()."
    if dtype == torch.uint8:
        return "They must be float32 from 0 to 1: convert them by images.float() / 255."
    return "They must be float32 from 0 to 1: convert them by images.float()."
