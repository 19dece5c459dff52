"""The app in examples/, as `flwr new` lays one out: in process, in Ray's and under `flwr run`."""

import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from fedunlearn.flower import InProcessGrid
from tests.support.flwr_command import PROC, flwr_command

APP = Path(__file__).parents[2] / "examples" / "flower_app"
FLOWER = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]


@pytest.fixture
def apps(monkeypatch):
    """The app's two halves."""
    monkeypatch.syspath_prepend(str(APP))
    for name in [name for name in sys.modules if name.partition(".")[0] == "digits_app"]:
        monkeypatch.delitem(sys.modules, name)
    found = {}
    for half, where in FLOWER["components"].items():
        module, _, name = where.partition(":")
        found[half] = getattr(import_module(module), name)
    return found


def in_process(apps, file, **changes):
    """Run in this process; return the last model."""
    asked = FLOWER["config"] | {"model": str(file)} | changes
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=asked)
    grid = InProcessGrid(apps["clientapp"], asked["clients"], workers=1)
    try:
        apps["serverapp"](grid, context)
    finally:
        grid.close()
    return read(file)


def read(file):
    with np.load(file) as held:
        return dict(held)


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["retrain", "federaser", "finetune"])
def test_it_forgets_in_this_process(apps, tmp_path, capsys, method):
    model = in_process(apps, tmp_path / "model.npz", method=method)
    assert all(np.isfinite(array).all() for array in model.values())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("model ")]
    assert float(lines[-1].split("accuracy ")[1].partition(",")[0]) > 0.7


def test_retraining_does_not_depend_on_when_the_leaver_left(apps, tmp_path):
    early = in_process(apps, tmp_path / "early.npz", after=1)
    late = in_process(apps, tmp_path / "late.npz", after=4)
    same(early, late)
    stayed = in_process(apps, tmp_path / "stayed.npz", method="finetune")
    assert not np.allclose(stayed["last.bias"], early["last.bias"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_in_ray_s_processes_it_makes_the_same_model(apps, tmp_path, monkeypatch):
    from flwr.simulation import run_simulation

    expected = in_process(apps, tmp_path / "here.npz")
    asked = FLOWER["config"] | {"model": str(tmp_path / "ray.npz")}
    server = apps["serverapp"]

    def main(grid, context):
        context.run_config = asked
        server(grid, context)

    from flwr.serverapp import ServerApp

    started = ServerApp()
    started.main()(main)
    monkeypatch.setenv("PYTHONPATH", f"{APP}:{Path(__file__).parents[2]}")
    run_simulation(
        started,
        apps["clientapp"],
        asked["clients"],
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    same(read(tmp_path / "ray.npz"), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not PROC, reason="finds processes in /proc")
def test_under_flwr_run_it_makes_the_same_model(apps, tmp_path):
    expected = in_process(apps, tmp_path / "here.npz")
    with flwr_command(tmp_path / "flower", APP) as flwr:
        done = flwr(
            *("run", ".", "--stream", "--federation-config"),
            "num-supernodes=5 client-resources-num-cpus=1",
            *("--run-config", f'model="{tmp_path / "flown.npz"}"'),
        )
    assert "The last model lies in" in done.stdout, done.stdout + done.stderr
    same(read(tmp_path / "flown.npz"), expected)
