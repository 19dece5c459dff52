"""What is known of a run before it trains."""

from dataclasses import replace

import pytest

from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.experiment import split_hash
from fedunlearn.experiment.prepared import prepare
from fedunlearn.history import InMemory, OnDisk
from tests.support.waves import WAVES


def test_the_data_of_every_seed_are_read_and_hashed():
    prepared = prepare(WAVES, [3, 1])
    assert list(prepared.scenarios) == [3, 1]
    for seed in (1, 3):
        assert prepared.splits[seed] == split_hash(build_federation(WAVES.scenario(seed)))
    assert prepared.splits[1] != prepared.splits[3]


def test_without_a_budget_the_experiment_stays_as_it_is():
    prepared = prepare(WAVES, [0])
    assert prepared.experiment is WAVES
    assert prepared.budget == ""


@pytest.mark.parametrize(
    ("store", "histories"), [(InMemory(), 2), (OnDisk(limit=0), 3), (OnDisk(limit=10**9), 2)]
)
def test_room_on_the_disk_is_for_all_models_and_the_histories_there_are_at_one_time(
    store, histories
):
    experiment = replace(WAVES, store=store)
    prepared = prepare(experiment, [0, 1])
    models = 1 + len(experiment.branches) * len(experiment.requests)
    expected = 2 * models * prepared.size * 4 + histories * experiment.stored_bytes(prepared.size)
    assert prepared.needed_bytes == expected


def test_the_manifest_names_what_a_resumed_run_must_share():
    manifest = prepare(WAVES, [0, 1]).manifest({"some": "settings"})
    assert manifest["seeds"] == [0, 1]
    assert manifest["split_sha256"].keys() == manifest["cohorts_sha256"].keys() == {0, 1}
    assert manifest["config"] == {"some": "settings"}
    assert "status" not in manifest


def test_a_seed_given_twice_is_refused():
    with pytest.raises(Refused, match="different seeds"):
        prepare(WAVES, [1, 1])
