"""docs/training.md: its command lines work, and what it says may be combined may be."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from fedunlearn.checks import Refused
from fedunlearn.experiment import compatible
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.simulations import configured, docs_tables, explain, guard
from fedunlearn.unlearning import FedDyn, Scaffold, Training

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
COMMANDS = re.findall(r"^fedunlearn (.+)$", PAGE, re.MULTILINE)
RUNS = [line for line in COMMANDS if line.startswith("withdraw ")]
SHORT = ["debug=fast", "training.rounds=2", "recovery.rounds=1", "model=mlp"]


def test_there_are_commands():
    assert len(COMMANDS) >= 9
    assert set(COMMANDS) - set(RUNS) == {"explain training.work.schedule"}


@pytest.mark.parametrize("line", RUNS)
def test_every_run_is_an_experiment(line):
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        overrides = shlex.split(line)[1:]
        cfg = compose("config", overrides=overrides, return_hydra_config=True)
        configured.experiment(cfg, {"tried": cfg.strategy})


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_ends_well(line, tmp_path):
    command, *rest = shlex.split(line)
    recovery = [] if "recovery=warm" in rest else ["recovery=plain"]
    short = [*recovery, *SHORT] if command == "withdraw" else []
    arguments = [command, *rest, *short]
    done = subprocess.run(
        [sys.executable, "-m", "fedunlearn", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("scaffold", Training(work=LocalWork(optimizer=Sgd(momentum=0)), correction=Scaffold())),
        ("feddyn", Training(correction=FedDyn())),
    ],
    ids=["scaffold", "feddyn"],
)
def test_the_strategies_that_a_correction_leaves_are_those_of_the_page(name, training):
    allowed = []
    for strategy in docs_tables.names():
        try:
            compatible.strategy_and_training(strategy, docs_tables.strategy(strategy), training)
        except Refused:
            continue
        allowed.append(f"`{strategy}`")
    assert f"| `training={name}` | {', '.join(allowed)} |" in PAGE


def test_the_schedule_is_explained():
    lines = "\n".join(explain.explained("training.work.schedule"))
    for shape in ("constant", "exponential", "step", "cosine"):
        assert shape in lines
    assert "warmup=0" in lines
