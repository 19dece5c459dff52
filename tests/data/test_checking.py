"""Which arrays of a user's own are a data set: others are refused in a sentence."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import (
    Dataset,
    Iid,
    NoPlanting,
    Owners,
    Records,
    Scenario,
    checked_federation,
)
from fedunlearn.models import Mlp
from tests.support.record_kinds import SmallNet

IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3
GOOD = Dataset(Records(IMAGES, LABELS), Records(IMAGES[:9], LABELS[:9]), ("a", "b", "c"))


PAGE = (Path(__file__).parents[2] / "docs" / "models-and-data.md").read_text()
SENTENCES = re.findall(r'"([^"]+)"', PAGE)


@dataclass(frozen=True, eq=False)
class Own:
    """A user's own data set."""

    dataset: object

    def load(self):
        return self.dataset


def federation(dataset):
    net = SmallNet() if isinstance(dataset, Dataset) and dataset.levels else Mlp((4,))
    return checked_federation(Scenario(Own(dataset), Iid(clients=3), NoPlanting(), net, (), 0))


def spoiled(value):
    images = IMAGES.clone()
    images[3, 0, 1, 1] = value
    return images


def test_a_good_one_passes():
    assert len(federation(GOOD).train) == 3


SPOILED = {
    "labels from 1": ({"labels": LABELS + 1}, r"labels go from 1 to 3; with 3 classes .*0 … 2"),
    "negative labels": ({"labels": LABELS - 1}, r"labels go from -1 to 1"),
    "int32 labels": ({"labels": LABELS.int()}, r"labels are torch.int32.*labels.long"),
    "float labels": ({"labels": LABELS.float()}, r"labels are torch.float32.*int64.*regression"),
    "one-hot labels": (
        {"labels": torch.eye(3)[LABELS].long()},
        r"labels have shape \(\d+, 3\).*argmax",
    ),
    "several labels": (
        {"labels": torch.ones(40, 3).long()},
        r"labels have shape \(\d+, 3\).*multi-label",
    ),
    "a list of labels": ({"labels": LABELS.tolist()}, r"labels are a list, not a tensor \[n\]"),
    "a list of names": (
        {"labels": [*"abcab" * 8]},
        r"are a list, not a tensor \[n\]\. Number the classes \('a', 'b' and 'c'\) from 0",
    ),
    "too few labels": ({"labels": LABELS[:5]}, r"inputs but 5 labels"),
    "images in 0…255": ({"inputs": IMAGES * 255}, r"go from .* must lie in 0 … 1.*Divide bytes"),
    "standardised images": ({"inputs": IMAGES - 0.5}, r"must lie in 0 … 1.*into the net"),
    "a NaN pixel": ({"inputs": spoiled(torch.nan)}, r"NaN or infinite in 1 of \d+ records"),
    "an infinite pixel": ({"inputs": spoiled(torch.inf)}, r"NaN or infinite in 1 of"),
    "uint8 images": ({"inputs": (IMAGES * 255).byte()}, r"inputs are torch.uint8.*/ 255"),
    "float64 images": ({"inputs": IMAGES.double()}, r"inputs are torch.float64.*inputs.float"),
    "half precision": ({"inputs": IMAGES.half()}, r"inputs are torch.float16.*inputs.float"),
    "single numbers": ({"inputs": IMAGES[:, 0, 0, 0]}, r"shape \(\d+,\).*\[n, …\].*\[:, None\]"),
    "an array of images": ({"inputs": IMAGES.numpy()}, r"inputs are a ndarray, not a tensor"),
    "images in no memory": ({"inputs": IMAGES.to("meta")}, r"inputs lie on meta"),
    "no records": ({"inputs": IMAGES[:0], "labels": LABELS[:0]}, r"side holds no records"),
}


@pytest.mark.parametrize("kind", SPOILED)
@pytest.mark.parametrize("side", ["train", "test"])
def test_others_are_refused(kind, side):
    fields, sentence = SPOILED[kind]
    whole = Records(IMAGES[:20], LABELS[:20])
    records = replace(whole, **{name: held[:20] for name, held in fields.items()})
    with pytest.raises(Refused, match=sentence) as refused:
        federation(replace(GOOD, **{side: records}))
    said = str(refused.value)
    assert said.startswith("dataset=Own")
    assert {"train": "training", "test": "test"}[side] in said
    assert any(part in said for part in SENTENCES), "the page has no row for it"


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ((IMAGES, LABELS), r"load\(\) returned a tuple, not a Dataset"),
        (replace(GOOD, train=(IMAGES, LABELS)), r"training side is a tuple, not Records"),
        (replace(GOOD, classes=("a",)), r"names 1 classes"),
        (
            replace(GOOD, test=Records(IMAGES[:9].repeat(1, 3, 1, 1), LABELS[:9])),
            r"are \(1, 4, 4\) but test images \[c, h, w\] \(3, 4, 4\)",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(dataset, sentence):
    with pytest.raises(Refused, match=sentence) as refused:
        federation(dataset)
    assert any(part in str(refused.value) for part in SENTENCES), "the page has no row for it"


TOKENS = torch.arange(120).reshape(40, 3) % 5
TEXT = Dataset(Records(TOKENS, LABELS), Records(TOKENS[:9], LABELS[:9]), ("a", "b", "c"), (5,))
CELLS = torch.stack([IMAGES[:, 0, 0, 0] - 9, LABELS.float(), TOKENS[:, 0].float()], dim=1)
TABLE = Dataset(Records(CELLS, LABELS), Records(CELLS[:9], LABELS[:9]), ("a", "b", "c"), (0, 3, 5))
SENSED = IMAGES.flatten(2) * 100 - 50
WATCH = Dataset(Records(SENSED, LABELS), Records(SENSED[:9], LABELS[:9]), ("a", "b", "c"))
WHO = Owners(LABELS.clone(), ("Ann", "Bob", "Cleo"))


@pytest.mark.parametrize("dataset", [TEXT, TABLE, WATCH, replace(TEXT, owners=WHO)])
def test_records_need_not_be_images(dataset):
    here = federation(dataset)
    assert len(here.train) == 3
    assert here.network.shape.levels == dataset.levels


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (replace(TEXT, levels=()), r"inputs are int64.*Dataset.levels"),
        (replace(TEXT, levels=(4,)), r"go from 0 to 4; with 4 levels .* 0 … 3"),
        (replace(TEXT, levels=(5, 5)), r"levels of 2 columns, but records are \(3,\)"),
        (replace(TEXT, levels=(5, 0, 5)), r"inputs are int64"),
        (replace(TEXT, levels=(-5,)), r"levels must be whole numbers"),
        (
            replace(TEXT, test=Records(TOKENS[:9].float(), LABELS[:9])),
            r"training inputs are torch.int64 but test inputs torch.float32; make them equal",
        ),
        (replace(TABLE, levels=(0, 2, 5)), r"in column 1 go from 0 to 2; with 2 levels"),
        (replace(TABLE, levels=(3, 3, 5)), r"in column 0 .*whole numbers in 0 … 2"),
        (replace(WATCH, train=Records(SENSED * torch.nan, LABELS)), r"NaN .* in 40 of 40 records"),
        (replace(TEXT, owners=LABELS), r"owners are .*not Owners"),
        (replace(TEXT, owners=replace(WHO, of=LABELS[:9])), r"int64 \[40\].*int64 \[9\]"),
        (replace(TEXT, owners=replace(WHO, names=("Ann",))), r"from 0 to 2, but 1 are named"),
        (replace(TEXT, owners=replace(WHO, names=("A", "B", "A"))), r"owner 'A' twice"),
    ],
)
def test_what_no_net_can_look_up_is_refused(dataset, sentence):
    with pytest.raises(Refused, match=sentence) as refused:
        federation(dataset)
    assert any(part in str(refused.value) for part in SENTENCES), "the page has no row for it"
