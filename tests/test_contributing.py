"""The worked example of CONTRIBUTING.md is run as it stands there, and followed from a wheel."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from uv import find_uv_bin

from fedunlearn.simulations import configured
from fedunlearn.unlearning import Request
from tests.support.world import World, without_leavers

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture
def restart(monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    module = types.ModuleType("strategies.restart")
    monkeypatch.setitem(sys.modules, "strategies.restart", module)
    exec(code, module.__dict__)
    return configured.build("strategy", yaml.safe_load(config))


def test_the_example_is_retraining_cut_short(restart):
    world = World()
    with world.open() as clients:
        course = world.trained(clients)
        history = course.history.select(restart.needs, course.round)
        remaining = without_leavers(clients, [1], restart.needs)
        request = Request(frozenset({1}), course.round)
        models = list(restart.unlearn(request, history, remaining))
    assert len(models) == restart.length(request) == 5
    torch.testing.assert_close(models[-1], world.formula([0, 2, 3], 5))


TINY = (
    *("training.rounds=2", "training.work.epochs=1", "dataset=digits", "model=mlp", "references=1"),
    *("partition.clients=3", "figures=false"),
)
MODELS = """
from dataclasses import dataclass
from fedunlearn.models import Mlp

@dataclass(frozen=True)
class Net(Mlp):
    pass
"""
OWN = {
    "mymodels.py": MODELS,
    "mydata.py": MODELS.replace("models", "data")
    .replace("Net(Mlp)", "Set(Digits)")
    .replace("Mlp", "Digits"),
    "random.py": "raise SystemExit('a module of the user hides the standard library')",
}


def run(*command, cwd):
    inherited = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=inherited, capture_output=True, text=True, check=False
    )


def well(*command, cwd):
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The bin folder of an environment that has the wheel, and else what the present one has."""
    folder = tmp_path_factory.mktemp("installed")
    uv = find_uv_bin()
    constraints = ROOT / "constraints.txt"
    build = ("build", "--wheel", "--build-constraints", constraints, "--out-dir", "dist")
    well(uv, *build, ROOT, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    well(uv, "venv", "--python", sys.executable, "venv", cwd=folder)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    install = ("pip", "install", "--python", "venv/bin/python", "--no-deps", "--no-index")
    well(uv, *install, wheel, cwd=folder)
    yield folder / "venv" / "bin"
    shutil.rmtree(folder)


@pytest.fixture
def own(tmp_path):
    """A folder that is not a checkout, with what CONTRIBUTING says in it."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    files = {"strategies/restart.py": code, "conf/strategy/restart.yaml": config, **OWN}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.slow
def test_the_commands_work_as_they_stand_from_a_wheel_in_an_empty_folder(installed, own):
    (block,) = re.findall(r"nothing to register:\n\n```\n(.*?)```", TEXT, re.DOTALL)
    for number, line in enumerate(block.splitlines()):
        _, *words = shlex.split(line)
        place = f"hydra.{'sweep' if '-m' in words else 'run'}.dir=outputs/{number}"
        few = ("seeds=[0]",) if words[0] == "compare" else ()
        well(installed / "fedunlearn", *words, *TINY, *few, place, cwd=own)
    assert "restart" in (own / "outputs/0/summary.csv").read_text()
    index = pd.read_csv(own / "outputs/1/index.csv")
    assert index["run"].nunique() == 3
    assert "restart" in set(index["strategy"])


@pytest.mark.slow
@pytest.mark.parametrize("module", [False, True], ids=["script", "python -m"])
@pytest.mark.parametrize(
    ("override", "key", "target"),
    [
        ("strategy=restart", "strategy", "strategies.restart.Restart"),
        ("model._target_=mymodels.Net", "model", "mymodels.Net"),
        ("dataset._target_=mydata.Set", "dataset", "mydata.Set"),
    ],
)
def test_ones_own_classes_are_found_behind_what_is_installed(
    installed, own, module, override, key, target
):
    command = ("python", "-m", "fedunlearn") if module else ("fedunlearn",)
    done = well(installed / command[0], *command[1:], "withdraw", *TINY, override,
                "hydra.run.dir=out", cwd=own)  # fmt: skip
    assert "summary.csv" in done
    manifest = yaml.safe_load((own / "out/manifest.json").read_text())
    assert manifest["config"][key]["_target_"] == target


@pytest.mark.slow
def test_ours_comes_before_a_file_of_the_same_name_and_that_is_told(installed, own):
    (own / "conf/strategy/federaser.yaml").write_text("_target_: nowhere.Nothing\n")
    (own / "strategies/none.py").write_text("raise SystemExit('passed over')\n")
    done = run(installed / "fedunlearn", "withdraw", *TINY, "strategy=none", cwd=own)
    assert done.returncode == 0, done.stderr
    assert "conf/strategy/federaser.yaml of this folder is passed over" in done.stderr
    assert "strategies/none.py of this folder is passed over" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["strategy=restrat"], "did you mean restart?"),
        (["strategy=restrat"], "/conf/strategy; your own is conf/strategy/NAME.yaml in "),
        (["model._target_=mymodel.Net"], "no module mymodel among the installed packages or in "),
        (["model._target_=mymodels.Nte"], "mymodels.py has no Nte; did you mean Net?"),
        (["model._target_=strategies.ours.X"], "there is no module ours in "),
    ],
)
def test_what_is_not_found_is_a_sentence_that_names_where_was_looked(
    installed, own, arguments, said
):
    done = run(installed / "fedunlearn", "withdraw", *arguments, cwd=own)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_init_file_that_would_hide_our_strategies_is_refused(installed, own):
    (own / "strategies/__init__.py").touch()
    done = run(installed / "fedunlearn", "withdraw", cwd=own)
    assert done.returncode == 1
    assert "hides the strategies of fedunlearn. Delete it" in done.stderr
