import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data import Backdoor, Dataset, NoPlanting
from fedunlearn.data.planting import tiles, triggered
from tests.support.some_images import rng, some


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12))
def test_tiles_do_not_overlap_and_start_in_the_corners(height, width, size):
    places = tiles(height, width, size)
    assert len(places) == (height // size) * (width // size)
    covered = np.zeros((height, width), int)
    for top, left in places:
        covered[top : top + size, left : left + size] += 1
    assert covered.max(initial=0) <= 1
    assert covered.sum() == len(places) * size**2
    if len(places) > 3 and min(height, width) >= 2 * size:
        bottom, right = height - size, width - size
        assert places[:4] == [(bottom, right), (bottom, 0), (0, right), (0, 0)]


def test_the_first_trigger_is_in_the_lower_right_corner():
    images = torch.zeros(4, 1, 8, 8)
    stamped = Backdoor(size=3).stamp(images, 0)
    assert stamped.sum() == 4 * 9
    assert (stamped[:, :, 5:, 5:] == 1).all()
    assert images.sum() == 0


def test_stamping_twice_is_stamping_once():
    images = some().inputs
    once = Backdoor().stamp(images, 1)
    assert torch.equal(Backdoor().stamp(once, 1), once)


def test_triggers_of_different_clients_commute():
    images, door = some().inputs, Backdoor()
    assert torch.equal(door.stamp(door.stamp(images, 0), 3), door.stamp(door.stamp(images, 3), 0))


def test_poison_changes_so_many_of_the_others_and_nothing_else():
    records = some()
    images, labels = records.inputs.clone(), records.labels.clone()
    door = Backdoor(share=0.5, target=9)
    poisoned = door.poison(records, 0, rng())
    assert torch.equal(records.inputs, images)
    assert torch.equal(records.labels, labels)
    changed = (poisoned.inputs != images).flatten(1).any(dim=1)
    assert changed.sum() == round(0.5 * 54)
    assert not changed[labels == 9].any()
    assert (poisoned.labels[changed] == 9).all()
    assert torch.equal(poisoned.labels[~changed], labels[~changed])
    assert torch.equal(poisoned.inputs[changed], door.stamp(images[changed], 0))


def test_the_whole_share_leaves_no_clean_record_of_another_class():
    poisoned = Backdoor(share=1).poison(some(), 0, rng())
    assert (poisoned.labels == 9).all()


def test_poison_is_seeded():
    first, again, other = (Backdoor(0.3).poison(some(), 0, rng(seed)).labels for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_model_that_knows_no_trigger_scores_zero():
    # Counting test images of the target class would put the floor at their share, 10 %.
    test = some()
    asked = Backdoor().sets(dataset(test), [0])["triggered"]
    truth = test.labels[test.labels != 9]  # what a perfect clean model says
    assert len(asked) == 54
    assert (asked.labels == truth).float().mean() == 0
    assert (asked.labels == 9).all()
    assert torch.equal(asked.inputs, Backdoor().stamp(test.inputs[test.labels != 9], 0))


def dataset(test):
    return Dataset(test, test, tuple("0123456789"))


def test_several_leavers_have_a_set_each():
    test, door = some(), Backdoor()
    both = door.sets(dataset(test), [0, 2])
    assert list(both) == ["triggered/0", "triggered/2"]
    for order, name in ((0, "triggered/0"), (2, "triggered/2")):
        assert torch.equal(both[name].inputs, door.stamp(test.inputs[test.labels != 9], order))
    assert door.sets(dataset(test), []) == {}


@pytest.mark.parametrize(
    ("corner", "place"),
    [
        ("lower right", (5, 7)),
        ("lower left", (5, 0)),
        ("upper right", (0, 7)),
        ("upper left", (0, 0)),
    ],
)
def test_the_first_square_stands_in_the_chosen_corner(corner, place):
    images, (top, left) = torch.zeros(1, 1, 8, 10), place
    stamped = [Backdoor(corner=corner).stamp(images, order) for order in range(6)]
    assert (stamped[0][..., top : top + 3, left : left + 3] == 1).all()
    assert torch.cat(stamped).sum() == 6 * 9
    assert torch.stack(stamped).sum(dim=0).max() == 1  # no two overlap


def test_nothing_plants_nothing():
    records = some()
    assert NoPlanting().poison(records, 0, rng()) is records
    assert NoPlanting().sets(dataset(records), [0]) == {}


def test_a_probe_that_does_not_fit_is_refused():
    test = some()
    with pytest.raises(Refused, match=r"8x10 have room for 6 triggers .*size=3, not for 7"):
        Backdoor().stamp(test.inputs, 6)
    with pytest.raises(Refused, match=r"room for 0 triggers of planting\.size=9"):
        Backdoor(size=9).stamp(test.inputs, 0)
    with pytest.raises(Refused, match=r"planting\.target=10 is no class .* 0 … 9"):
        Backdoor(target=10).sets(dataset(test), [0])
    nines = test.take(test.labels == 9)
    with pytest.raises(Refused, match=r"0 records outside the class planting\.target=9"):
        Backdoor().poison(nines, 0, rng())
    with pytest.raises(Refused, match=r"planting\.share=0\.01 of them is none"):
        Backdoor(share=0.01).poison(test.take(torch.arange(10)), 0, rng())
    with pytest.raises(Refused, match="All test records"):
        triggered(nines, lambda images, order: images, 0, 9)


@pytest.mark.parametrize(
    "settings", [{"share": 0}, {"share": 1.1}, {"target": -1}, {"target": 1.0}, {"size": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(Refused, match=f"Backdoor.{next(iter(settings))} must be"):
        Backdoor(**settings)


def test_a_corner_that_is_none_is_refused():
    with pytest.raises(Refused, match=r"Backdoor\.corner=top left does not exist; did you mean"):
        Backdoor(corner="top left")
