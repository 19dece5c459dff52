"""Triggers over whole images: what they do to pixels, to whom, and each leaver's its own."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import Backdoor, Blended, Dataset, Stripes
from tests.support.some_images import rng, some

KINDS = [Backdoor(size=2), Backdoor(size=2, corner="upper left"), Blended(), Stripes()]


def kinds():
    return pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)


@kinds()
def test_pixels_stay_in_range_and_originals_as_they_are(kind):
    images = torch.rand(40, 2, 8, 10, generator=torch.Generator().manual_seed(0))
    images[0], images[1] = 0, 1
    before = images.clone()
    stamped = kind.stamp(images, 1)
    assert stamped.dtype == torch.float32
    assert stamped.min() >= 0
    assert stamped.max() <= 1
    assert torch.equal(images, before)
    assert (stamped != images).flatten(1).any(dim=1).sum() >= 39


@kinds()
def test_different_leavers_have_different_patterns_and_the_same_one_always_the_same(kind):
    images = some().inputs
    each = [kind.stamp(images, order) for order in range(4)]
    for one, other in combinations(each, 2):
        assert (one != other).flatten(1).any(dim=1).all()
    assert torch.equal(kind.stamp(images, 2), each[2])


@kinds()
def test_the_target_class_is_neither_poisoned_nor_asked_about(kind):
    records = some()
    planted = replace(kind, share=0.5, target=3).poison(records, 1, rng())
    changed = (planted.inputs != records.inputs).flatten(1).any(dim=1)
    assert changed.sum() == round(0.5 * 54)
    assert not changed[records.labels == 3].any()
    assert (planted.labels[changed] == 3).all()
    assert torch.equal(planted.inputs[changed], kind.stamp(records.inputs[changed], 1))
    dataset = Dataset(records, records, tuple("0123456789"))
    [(name, asked)] = replace(kind, target=3).sets(dataset, [1]).items()
    assert name == "triggered"
    assert torch.equal(asked.inputs, kind.stamp(records.inputs[records.labels != 3], 1))
    assert (asked.labels == 3).all()


def test_blended_by_hand():
    kind = Blended(strength=0.25)
    black, white = (torch.full((1, 1, 3, 3), value) for value in (0.0, 1.0))
    pattern = kind.stamp(black, 0) / 0.25
    assert torch.allclose(kind.stamp(white, 0), 0.75 + 0.25 * pattern)
    assert pattern.std() > 0.1
    assert not torch.equal(kind.stamp(black, 0), replace(kind, seed=1).stamp(black, 0))


def test_stripes_by_hand():
    grey = torch.full((1, 1, 8, 8), 0.5)
    wave = torch.tensor([0.5, 0.7, 0.5, 0.3] * 2)
    upright, lying = (Stripes(amplitude=0.2).stamp(grey, order)[0, 0] for order in (0, 1))
    assert torch.allclose(upright, wave.expand(8, 8), atol=1e-6)
    assert torch.allclose(lying, wave[:, None].expand(8, 8), atol=1e-6)
    narrow = Stripes(amplitude=0.2, frequency=3).stamp(grey, 0)
    assert torch.allclose(Stripes(amplitude=0.2).stamp(grey, 2), narrow)


def test_stripes_that_would_not_show_are_refused():
    images = torch.zeros(1, 1, 8, 10)
    Stripes(frequency=4).stamp(images, 0)  # 10 pixels wide
    with pytest.raises(Refused, match="4 periods, those of leaver 2, do not show on 8 pixels"):
        Stripes(frequency=4).stamp(images, 1)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Blended, {"strength": 0}),
        (Blended, {"strength": 1.1}),
        (Blended, {"seed": -1}),
        (Blended, {"share": 0}),
        (Stripes, {"amplitude": 0}),
        (Stripes, {"frequency": 0}),
        (Stripes, {"target": -1}),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings):
    with pytest.raises(Refused, match=f"{kind.__name__}.{next(iter(settings))} must be"):
        kind(**settings)
