"""Which arrays of a user's own are a data set: others are refused in a sentence."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import Dataset, Iid, NoPlanting, Records, Scenario, checked_federation
from fedunlearn.models import Mlp

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
    return checked_federation(
        Scenario(Own(dataset), Iid(clients=3), NoPlanting(), Mlp((4,)), (), 0)
    )


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
    "float labels": ({"labels": LABELS.float()}, r"labels are torch.float32.*int64"),
    "one-hot labels": ({"labels": torch.eye(3)[LABELS].long()}, r"labels have shape \(\d+, 3\)"),
    "a list of labels": ({"labels": LABELS.tolist()}, r"labels are a list, not a tensor \[n\]"),
    "a list of names": (
        {"labels": [*"abcab" * 8]},
        r"are a list, not a tensor \[n\]\. Number the classes \('a', 'b' and 'c'\) from 0",
    ),
    "too few labels": ({"labels": LABELS[:5]}, r"images but 5 labels"),
    "images in 0…255": ({"inputs": IMAGES * 255}, r"go from .* must lie in 0 … 1.*Divide bytes"),
    "standardised images": ({"inputs": IMAGES - 0.5}, r"must lie in 0 … 1.*into the net"),
    "a NaN pixel": ({"inputs": spoiled(torch.nan)}, r"NaN or infinite in 1 of \d+ records"),
    "an infinite pixel": ({"inputs": spoiled(torch.inf)}, r"NaN or infinite in 1 of"),
    "uint8 images": ({"inputs": (IMAGES * 255).byte()}, r"images are torch.uint8.*/ 255"),
    "float64 images": ({"inputs": IMAGES.double()}, r"images are torch.float64.*images.float"),
    "images without channels": ({"inputs": IMAGES[:, 0]}, r"shape \(\d+, 4, 4\).*\[n, c, h, w\]"),
    "an array of images": ({"inputs": IMAGES.numpy()}, r"images are a ndarray, not a tensor"),
    "images in no memory": ({"inputs": IMAGES.to("meta")}, r"images lie on meta"),
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
            r"are \(1, 4, 4\) but test images \(3, 4, 4\)",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(dataset, sentence):
    with pytest.raises(Refused, match=sentence) as refused:
        federation(dataset)
    assert any(part in str(refused.value) for part in SENTENCES), "the page has no row for it"
