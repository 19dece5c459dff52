"""A small part of what benchmarks.damage and benchmarks.configurations try by the thousand."""

import random

import pytest
from hydra import compose, initialize_config_dir

from benchmarks import configurations, damage
from benchmarks.damages import kinds
from fedunlearn.simulations import guard
from tests.support.killed import carry_out

CASES = range(100)
SUITED = {"finished": ("verify", "verify", "verify", "own cost")}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    carry_out(root / "finished", "float32", resume=False)
    return damage.Bench(root, tmp_path_factory.mktemp("damaged"), SUITED)


@pytest.mark.slow
def test_a_damaged_file_is_named_in_a_sentence_or_changes_nothing(bench):
    results = [bench.case(number) for number in CASES]
    assert [result for result in results if result.outcome in damage.FAULTS] == []
    refused = [result for result in results if result.outcome == damage.REFUSED]
    assert len(refused) > len(CASES) / 2
    assert all(len(result.said.splitlines()) == 1 for result in refused)


@pytest.mark.slow
def test_a_wrong_load_would_be_found(bench, monkeypatch):
    monkeypatch.setattr(
        "fedunlearn.results.run_files.table_text", lambda path, _=None: path.read_text()
    )
    monkeypatch.setattr(damage, "READ", 1.0)
    monkeypatch.setattr(
        damage, "kinds", lambda path: ["cell"] if path.suffix == ".csv" else kinds(path)
    )
    monkeypatch.setattr(bench, "suited", {"finished": ("own cost",)})
    assert "wrong load" in {bench.case(number).outcome for number in range(40)}


def test_a_nasty_value_is_refused_or_is_a_run():
    with initialize_config_dir(guard.CONF, version_base="1.3", job_name="withdraw"):
        whole = compose("config", overrides=list(configurations.TINY))
        every = [
            (key, name) for key in configurations.keys(whole) for name in configurations.VALUES
        ]
        assert len(every) > 1000
        chosen = random.Random(1).sample(every, 40)
        results = [configurations.tried(whole, *case, carried_out=False) for case in chosen]
    assert [result for result in results if result.outcome in configurations.FAULTS] == []
    assert sum(result.outcome == configurations.REFUSED for result in results) > 20
