"""The worked examples of CONTRIBUTING.md are run as they stand there, and followed from a wheel."""

import math
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


EXAMPLES = dict(
    re.findall(
        r"^\*\*\d\.\*\* `([\w/]+\.(?:py|yaml))`.*?```\w+\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE
    )
)
"""The text of each file that a reader is told to write, by its path."""

COMMANDS = re.findall(r"^fedunlearn .+$", TEXT, re.MULTILINE)


def test_the_examples_are_found():
    kinds = ("strategy", "evaluators", "dataset", "model")
    assert {path.split("/")[1] for path in EXAMPLES if path.startswith("conf/")} == set(kinds)
    assert len(EXAMPLES) == 2 * len(kinds)
    assert len(COMMANDS) == 1 + len(kinds)


def module(path):
    """Return an example's Python as a module of its own."""
    made = types.ModuleType(path.removesuffix(".py").replace("/", "."))
    exec(EXAMPLES[path], made.__dict__)
    return made


@pytest.fixture
def restart(monkeypatch):
    monkeypatch.setitem(sys.modules, "strategies.restart", module("strategies/restart.py"))
    return configured.build("strategy", yaml.safe_load(EXAMPLES["conf/strategy/restart.yaml"]))


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


def test_the_evaluator_knows_how_much_surer_a_model_is_of_what_it_saw():
    logits = {"forget": [[0.0, 3.0], [0.0, 1.0]], "forget_heldout": [[2.0, 0.0]]}
    sets = {name: [None] * len(rows) for name, rows in logits.items()}
    model = types.SimpleNamespace(
        sets=sets, logits=lambda name: torch.tensor(logits[name]).double()
    )
    (value,) = module("confidence.py").Confidence()(model, None).values()
    own, others = (1 / (1 + math.exp(-3)) + 1 / (1 + math.exp(-1))) / 2, 1 / (1 + math.exp(-2))
    assert value == pytest.approx(own - others)
    assert (
        module("confidence.py").Confidence()(model=types.SimpleNamespace(sets={}), retrained=None)
        == {}
    )


def test_the_data_set_is_what_it_says():
    tumours = module("tumours.py").Tumours().load()
    assert (len(tumours.train), len(tumours.test), tumours.shape) == (455, 114, (1, 1, 30))
    for records in (tumours.train, tumours.test):
        assert records.inputs.dtype == torch.float32
        assert ((records.inputs >= 0) & (records.inputs <= 1)).all()
        assert set(records.labels.tolist()) == {0, 1}


def test_the_model_is_linear_in_its_input():
    net = module("logistic.py").Logistic()((1, 2, 3), 4)
    assert sum(weights.numel() for weights in net.parameters()) == 4 * (6 + 1)
    one, two = torch.rand(2, 1, 1, 2, 3)
    torch.testing.assert_close(net((one + two) / 2), (net(one) + net(two)) / 2)


TINY = (
    *("training.rounds=2", "training.work.epochs=1", "references=1", "figures=false"),
    *("partition.clients=3", "model=mlp"),
)

KINDS = {
    "model": "models.Mlp",
    "dataset": "data.Digits",
    "partition": "data.Iid",
    "planting": "data.Backdoor",
    "training.work.optimizer": "local.Sgd",
    "training.server": "unlearning.FedAvg",
    "recovery": "unlearning.Plain",
    "history": "history.OnDisk",
    "policy": "history.Every",
    "engine": "flower.Local",
    "logger": "experiment.loggers.NoLogger",
    "certificate": "results.certificates.Thresholds",
    "devices": "results.costing.Devices",
}
"""What a user may write: here a class of ours under another name, for the key that it stands at."""

CHOICES = (
    *("model=mlp", "dataset=digits", "partition=iid", "planting=backdoor", "recovery=plain"),
    *("history=disk", "policy=every", "strategy=restart"),
)

OWN = "".join(
    f"import fedunlearn.{place.rpartition('.')[0]} as room\nclass My{place.split('.')[-1]}(room."
    f"{place.split('.')[-1]}): pass\n"
    for place in KINDS.values()
)


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
    """A folder that is not a checkout, with what CONTRIBUTING says in it, and some more."""
    hiding = "raise SystemExit('a module of the user hides the standard library')"
    for name, text in {**EXAMPLES, "mine.py": OWN, "random.py": hiding}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def carried_out(installed, line, own, place):
    """Follow a command of CONTRIBUTING, on little data; `place` is where the results go."""
    _, *words = shlex.split(line)
    key = f"hydra.{'sweep' if '-m' in words else 'run'}.dir={place}"
    tiny = [word for word in TINY if not any(w.startswith(word.split("=")[0]) for w in words)]
    few = ("seeds=[0]",) if words[0] == "compare" else ()
    well(installed / "fedunlearn", *words, *tiny, *few, key, cwd=own)
    return own / place


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_work_as_they_stand_from_a_wheel_in_an_empty_folder(installed, own, line):
    out = carried_out(installed, line, own, "out")
    if "-m" in line:
        index = pd.read_csv(out / "index.csv")
        assert index["run"].nunique() == 3
        assert "restart" in set(index["strategy"])
        return
    manifest = yaml.safe_load((out / "manifest.json").read_text())
    config, summary = manifest["config"], pd.read_csv(out / "summary.csv")
    assert manifest["status"] == "finished"
    targets = {
        "strategies=[retrain,finetune,restart]": lambda: set(summary["strategy"]) >= {"restart"},
        "evaluators=confidence": lambda: summary["excess_confidence"].between(-1, 1).all(),
        "dataset=tumours": lambda: config["dataset"]["_target_"] == "tumours.Tumours",
        "model=logistic": lambda: config["model"]["_target_"] == "logistic.Logistic",
    }
    (told,) = (check() for word, check in targets.items() if word in shlex.split(line))
    assert told


@pytest.mark.slow
@pytest.mark.parametrize("module", [False, True], ids=["script", "python -m"])
def test_ones_own_classes_of_every_kind_are_found_behind_what_is_installed(installed, own, module):
    mine = {key: f"mine.My{place.split('.')[-1]}" for key, place in KINDS.items()}
    command = ("python", "-m", "fedunlearn") if module else ("fedunlearn",)
    well(installed / command[0], *command[1:], "withdraw", *TINY, *CHOICES, "hydra.run.dir=out",
         *(f"{key}._target_={target}" for key, target in mine.items()), cwd=own)  # fmt: skip
    config = yaml.safe_load((own / "out/manifest.json").read_text())["config"]
    for key, target in mine.items():
        part = config
        for step in key.split("."):
            part = part[step]
        assert part["_target_"] == target


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
        (["model._target_=logistik.Net"], "no module logistik among the installed packages or in "),
        (
            ["model._target_=logistic.Logistik"],
            "logistic.py has no Logistik; did you mean Logistic?",
        ),
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
    assert done.returncode == 2
    assert "hides the strategies of fedunlearn. Delete it" in done.stderr
