"""What must hold for every strategy in conf/strategy, whatever it does."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.experiment import run
from fedunlearn.history import Needs
from fedunlearn.simulations import compare, configured, docs_tables, guard
from fedunlearn.unlearning import Plain, forget
from tests.support.world import World, finish

CROWD = [
    "experiment=digits_backdoor",
    *("model=mlp", "partition=iid", "partition.clients=100", "partition.minimum=3"),
    *("training.cohort=0.2", "training.rounds=8", "training.work.epochs=1"),
    "withdrawal.timeline=[{after: 5, clients: [1, 2]}, {after: 7, clients: [3]}]",
    *("recovery=plain", "recovery.rounds=1", "strategies=all", "seeds=[0]", "references=1"),
    "evaluators.measures=[{_target_: fedunlearn.evaluators.Utility},"
    "{_target_: fedunlearn.evaluators.Forgetting}]",
]


def experiment(overrides):
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", overrides)
        return configured.experiment(cfg, compare.strategies(cfg, "federaser"))


@pytest.mark.parametrize("name", docs_tables.names())
def test_when_nobody_leaves_nothing_changes_and_nobody_works(name):
    world = World()
    with world.open() as clients:
        course = world.trained(clients)
        charges = len(clients.ledger.charges)
        steps = forget(course, frozenset(), docs_tables.strategy(name), Plain(3), clients, Needs())
        after = finish(steps)
        assert len(clients.ledger.charges) == charges
    assert torch.equal(after.history.final, course.history.final)


@pytest.mark.parametrize("name", docs_tables.names())
def test_what_is_certified_says_what_it_assumes(name):
    strategy = docs_tables.strategy(name)
    assert (strategy.guarantee == "certified") == bool(getattr(strategy, "assumptions", ()))


@pytest.mark.slow
def test_some_of_a_crowd_leave_in_two_waves(tmp_path):
    """20 of 100 clients a round, several leavers at once, two requests in sequence."""
    crowd = experiment(CROWD)
    summary = run(crowd, [0], tmp_path, {}, Console(file=io.StringIO()))
    assert set(summary["strategy"]) == set(docs_tables.singles())
    assert list(summary.groupby("strategy")["request"].max().unique()) == [2]
    assert np.isfinite(summary["test_accuracy"]).all()
    assert np.isfinite(summary[[name for name in summary if name.endswith("_gap")]]).all(axis=None)
    # later the one has been through a recovery that the other has not
    first = summary[(summary["strategy"] == "exact_rollback") & (summary["request"] == 1)]
    assert (first["test_loss_gap"] == 0).all()
    for path in Path(tmp_path, "certificates").glob("*.json"):
        assert json.loads(path.read_text())["audit"]["findings"] == []


@pytest.mark.slow
def test_leavers_who_do_not_cooperate_are_asked_by_nobody():
    asking = [name for name in docs_tables.names() if docs_tables.strategy(name).needs.leaver]
    assert asking
    for name in asking:
        with pytest.raises(Refused, match=f"strategy={name} lets those who leave work"):
            experiment(["withdrawal.cooperates=false", f"strategies=[{name}]"])
    others = sorted(set(docs_tables.names()) - set(asking))
    made = experiment(["withdrawal.cooperates=false", f"strategies={others}".replace("'", "")])
    assert sorted(made.strategies) == others


def test_every_strategy_has_a_page_or_is_a_control():
    controls = {"none", "retrain", "finetune", "federaser", "fedaccum", "subtraction"}
    pages = {path.stem for path in docs_tables.PAGES.glob("*.md")}
    assert pages >= set(docs_tables.names()) - controls
