"""Every strategy by itself, on every way of keeping a history, from training to certificates."""

import io
import json

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.experiment import run
from fedunlearn.simulations import compare, configured, docs_tables, guard
from tests.support.slow import slowly

TINY = [
    *("model=mlp", "model.hidden=[8]", "partition=iid", "partition.clients=4"),
    *("training.rounds=3", "training.work.epochs=1", "references=1"),
    "evaluators.measures=[{_target_: fedunlearn.evaluators.Utility},"
    "{_target_: fedunlearn.evaluators.Forgetting}]",
    "evaluators.final=[]",
]
HISTORIES = ("memory", "disk", "none", "auto")
POLICIES = ("needs", "every", "drift", "largest")


def experiment(overrides, name):
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        marked = ["planting=backdoor"] if docs_tables.strategy(name).needs.verifies else []
        cfg = compose("config", [*TINY, *overrides, *marked, f"strategies=[{name}]"])
        return configured.experiment(cfg, compare.strategies(cfg, "federaser"))


def carried_out(folder, name, history, policy):
    """Run; say whether it was refused, which may only be before anything is trained."""
    try:
        alone = experiment([f"history={history}", f"policy={policy}"], name)
        run(alone, [0], folder, {}, Console(file=io.StringIO()))
    except Refused:
        assert not (folder / "metrics.csv").exists()
        return True
    return False


def require_whole(folder, name):
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
    made = json.loads((folder / "certificates" / f"seed0-{name}-request1.json").read_text())
    assert made["audit"]["findings"] == []
    assert (folder / "models" / f"seed0-{name}-request1.safetensors").exists()


FAST = ("retrain", "federaser", "subtraction", "pga", "fedrecovery", "ridge_head", "escalate")
"""One that keeps each kind of thing, one that asks each kind of client, and one that tests; the
others with the slow tests, as each takes most of a second."""


@pytest.mark.parametrize(
    "name", [*FAST, *slowly(*(name for name in docs_tables.names() if name not in FAST))]
)
def test_no_strategy_leans_on_what_another_has_training_record(name, tmp_path):
    refused = carried_out(tmp_path, name, "auto", "needs")
    assert refused == docs_tables.strategy(name).needs.kernels  # the net has none
    if not refused:
        require_whole(tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("name", docs_tables.names())
def test_on_every_history_and_policy_a_strategy_ends_or_is_refused_before_training(
    name, history, policy, tmp_path
):
    if not carried_out(tmp_path, name, history, policy):
        require_whole(tmp_path, name)
