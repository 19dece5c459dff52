"""A federation whose model has a frozen part: its records are what that part makes of them."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.data import Backdoor, Digits, Dirichlet, Iid, Scenario, checked_federation
from fedunlearn.experiment.provenance import split_hash
from fedunlearn.models import Mlp, PartlyFrozen
from tests.support.frozen_parts import Quadrants

RAW = Scenario(Digits(), Dirichlet(clients=4), Backdoor(), Mlp(), (1, 2), seed=3)
SEEN = replace(RAW, model=Quadrants(2.0))


@pytest.fixture(scope="module")
def both():
    return checked_federation(RAW), checked_federation(SEEN)


def test_every_record_is_seen_after_planting(both):
    raw, seen = both
    look = SEEN.model.frozen
    assert isinstance(SEEN.model, PartlyFrozen)
    assert not isinstance(RAW.model, PartlyFrozen)
    assert seen.network.layout.size == 16 * 10 + 10
    for one, other in zip(
        [*raw.train, *raw.clean, *raw.heldout, raw.dataset.test],
        [*seen.train, *seen.clean, *seen.heldout, seen.dataset.test],
        strict=True,
    ):
        torch.testing.assert_close(look(one.inputs), other.inputs)
        assert torch.equal(one.labels, other.labels)
    torch.testing.assert_close(look(raw.proxy), seen.proxy)
    planted = raw.train[1].inputs.shape[0] - raw.clean[1].inputs.shape[0]
    assert planted > 0


def test_what_evaluators_look_at_is_seen_too(both):
    sets, others = (each.evaluation_sets({1, 2}, {0, 3}) for each in both)
    assert sets.keys() == others.keys()
    assert {"triggered/1", "triggered/2"} <= sets.keys()
    for name, records in sets.items():
        torch.testing.assert_close(SEEN.model.frozen(records.inputs), others[name].inputs)


def test_the_division_does_not_depend_on_the_model_and_its_hash_does(both):
    raw, seen = both
    assert torch.equal(raw.source.train.records.inputs, seen.source.train.records.inputs)
    hashes = {split_hash(each) for each in (raw, seen)}
    hashes.add(split_hash(checked_federation(replace(SEEN, model=Quadrants(3.0)))))
    assert len(hashes) == 3


def test_no_proxy_is_none_of_the_features():
    here = checked_federation(replace(SEEN, partition=Iid(clients=2), leavers=(1,), proxy=0.0))
    assert here.proxy.shape == (0, 16)
