"""Labels that are out of date, and those of one group flipped."""

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import (
    Change,
    Digits,
    FlippedGroup,
    Iid,
    PlantedRecords,
    Records,
    RotatedLabels,
    Scenario,
    build_federation,
)
from fedunlearn.models import Mlp

LABELS = torch.tensor([0, 2, 5, 5, 2, 0, 9, 9])
RECORDS = Records(torch.arange(8.0).reshape(8, 1), LABELS)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("by", "expected"),
    [(1, [2, 5, 9, 9, 5, 2, 0, 0]), (2, [5, 9, 0, 0, 9, 5, 2, 2]), (5, [2, 5, 9, 9, 5, 2, 0, 0])],
)
def test_each_class_is_called_one_further_on(by, expected):
    moved = RotatedLabels(by=by).poison(RECORDS, 0, rng())
    assert moved.labels.tolist() == expected
    assert torch.equal(moved.inputs, RECORDS.inputs)
    assert RECORDS.labels.tolist() == LABELS.tolist()


def test_as_many_turns_as_there_are_classes_lead_back():
    records = RECORDS
    for _ in range(4):
        records = RotatedLabels().poison(records, 0, rng())
    assert torch.equal(records.labels, LABELS)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_labels_is_moved(share):
    moved = RotatedLabels(share=share).poison(RECORDS, 0, rng(3))
    assert int((moved.labels != LABELS).sum()) == 8 * share


def test_only_the_group_is_flipped():
    flipped = FlippedGroup(group=5, target=9).poison(RECORDS, 0, rng())
    assert flipped.labels.tolist() == [0, 2, 9, 9, 2, 0, 9, 9]
    half = FlippedGroup(group=5, target=9, share=0.5).poison(RECORDS, 0, rng())
    assert int((half.labels == 5).sum()) == 1


@pytest.mark.parametrize(
    ("planting", "records", "sentence"),
    [
        (RotatedLabels(by=4), RECORDS, "change no label"),
        (RotatedLabels(share=0.01), RECORDS, "change no label"),
        (RotatedLabels(), RECORDS.take(LABELS == 2), "2 records of 1 classes"),
        (FlippedGroup(group=7, target=1), RECORDS, "0 records of the class planting.group=7"),
    ],
)
def test_what_changes_nothing_is_refused(planting, records, sentence):
    with pytest.raises(Refused, match=sentence):
        planting.poison(records, 0, rng())


def test_a_group_called_as_it_is_is_refused():
    with pytest.raises(Refused, match=r"another class than planting\.group=3"):
        FlippedGroup(group=3, target=3)


def test_the_group_of_test_records_is_a_set_of_its_own():
    dataset = Digits().load()
    group = FlippedGroup(group=3, target=8).sets(dataset, [0])["group"]
    assert set(group.labels.tolist()) == {3}
    assert len(group) == int((dataset.test.labels == 3).sum())
    assert FlippedGroup().sets(dataset, []) == {}
    assert RotatedLabels().sets(dataset, [0]) == {}
    for planting, name in ((FlippedGroup(12, 1), "group"), (FlippedGroup(1, 12), "target")):
        with pytest.raises(Refused, match=rf"planting\.{name}=12 is no class"):
            planting.sets(dataset, [0])


def test_planted_records_are_those_whose_label_was_flipped():
    asks = Change(2, (1,), scope=PlantedRecords())
    scenario = Scenario(
        Digits(), Iid(3), FlippedGroup(group=3, target=8), Mlp((8,)), (1,), seed=0, changes=(asks,)
    )
    here = build_federation(scenario)
    sets = here.request_sets(1)
    assert set(sets["forget"].labels.tolist()) == {8}
    kept = here.kept(1)[1].labels
    assert len(sets["forget"]) + len(kept) == len(here.train[1])
    assert 3 not in set(kept.tolist())
    assert set(sets["group"].labels.tolist()) == {3}
