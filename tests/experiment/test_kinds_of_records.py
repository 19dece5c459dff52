"""Records need not be images: everything runs on sequences, tables and recordings as well."""

import io
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.attacks import Attack
from fedunlearn.experiment import run
from fedunlearn.results import load, report
from fedunlearn.simulations import compare, configured, docs_tables, guard
from tests.support.record_kinds import SmallNet, Synthetic

OVERRIDES = [
    *("partition.clients=4", "partition.minimum=5", "training.rounds=6", "strategies=all"),
    *("training.work.epochs=4", "training.work.batch_size=8", "training.work.optimizer.lr=0.3"),
    *("recovery=plain", "recovery.rounds=1", "references=1"),
    *("engine.mode=workers", "history=memory"),
]

SLOW = partial(pytest.param, marks=pytest.mark.slow)


def experiment(kind, overrides=()):
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", [*OVERRIDES, *overrides])
        made = configured.experiment(cfg, compare.strategies(cfg, "federaser"))
    return replace(made, dataset=Synthetic(kind), model=SmallNet())


@pytest.mark.parametrize("kind", [SLOW("table"), SLOW("tokens"), SLOW("sensor")])
def test_all_strategies_evaluators_and_certificates_take_them(kind, tmp_path):
    run(experiment(kind), [0], tmp_path, {}, Console(file=io.StringIO()))
    found = load(tmp_path)
    assert set(found.summary["strategy"]) >= set(docs_tables.singles())
    assert np.isfinite(found.summary[["test_accuracy", "forget_accuracy"]]).all(axis=None)
    retrained = found.summary[found.summary["strategy"] == "retrain"]
    assert (retrained["test_accuracy"] > 0.6).all(), "the nets learn what the inputs show"
    for path in (tmp_path / "certificates").glob("*.json"):
        assert json.loads(path.read_text())["audit"]["findings"] == []
    table = Attack(experiment(kind), found, 4, ["retrain", "none"]).table(lambda trained: None)
    assert set(table["strategy"]) == {"retrain", "none"}
    page, *_ = report.write(tmp_path, report.Declared())
    assert "report.html" in page.name
