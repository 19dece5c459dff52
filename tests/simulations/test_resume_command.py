"""`run=FOLDER` on the command line: what was begun goes on, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fedunlearn.checks import Refused
from fedunlearn.simulations.resume import begun

SMALL = [
    *("model=mlp", "training.rounds=4", "training.work.epochs=1", "strategy=fedaccum"),
    *("figures=false", "checkpoint=0"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run that was begun in another folder."""
    here = tmp_path / "run"
    (here / ".hydra").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    hydra = {
        "job": {"name": "withdraw"},
        "overrides": {
            "hydra": ["hydra.run.dir=old", "hydra.mode=RUN", "hydra.verbose=true"],
            "task": ["strategy=fedaccum", "seed=3", "resume=true"],
        },
        "runtime": {
            "cwd": str(tmp_path / "elsewhere"),
            "config_sources": [
                {"path": "hydra.conf", "schema": "pkg", "provider": "hydra"},
                {"path": "/mine", "schema": "file", "provider": "command-line"},
            ],
        },
    }
    monkeypatch.chdir(tmp_path)
    (here / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    (here / "hydra.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    return here


def test_other_arguments_are_left_alone():
    assert begun("withdraw", ["seed=1", "strategy=none"]) == ["seed=1", "strategy=none"]


def rewritten(folder, **changes):
    """Let the run's own file say something else."""
    path = folder / ".hydra" / "hydra.yaml"
    hydra = yaml.safe_load(path.read_text())["hydra"]
    for key, value in changes.items():
        part, _, name = key.partition("_")
        hydra[part][name] = value
    path.write_text(yaml.safe_dump({"hydra": hydra}))


@pytest.mark.parametrize(
    "override",
    [
        "model._target_=os.system",
        "+model={_target_: pandas.read_pickle, filepath_or_buffer: x}",
        "+a={'_target_': 'torch.hub.load'}",
        "hydra.callbacks.index._target_=fedunlearn.files.remove",
        "hydra.searchpath=[file:///somewhere]",
    ],
)
def test_a_stranger_s_folder_runs_no_code(folder, override):
    for kind in ("task", "hydra"):
        overrides = {"overrides_task": ["seed=3"], "overrides_hydra": []}
        rewritten(folder, **{**overrides, f"overrides_{kind}": [override]})
        before = Path.cwd()
        with pytest.raises(Refused, match=r"Repeat the command that began the run") as refusal:
            begun("withdraw", ["run=run"])
        assert override in str(refusal.value)
        assert Path.cwd() == before


def test_a_stranger_s_folder_brings_no_configuration_of_its_own(folder):
    (folder / "conf").mkdir()
    rewritten(folder, runtime_cwd=str(folder))
    with pytest.raises(Refused, match="within itself"):
        begun("withdraw", ["run=run"])
    sources = [{"path": str(folder / "conf"), "schema": "file", "provider": "command-line"}]
    rewritten(folder, runtime_cwd=str(folder.parent), runtime_config_sources=sources)
    with pytest.raises(Refused, match="within itself"):
        begun("withdraw", ["run=run"])


def test_a_class_that_conf_offers_may_be_named(folder):
    rewritten(folder, overrides_task=["model._target_=fedunlearn.models.Mlp"])
    assert "model._target_=fedunlearn.models.Mlp" in begun("withdraw", ["run=run"])


def test_a_run_goes_on_as_it_was_begun(folder, tmp_path):
    arguments = begun("withdraw", ["run=run"])
    assert arguments == [
        *("--config-dir", "/mine", "hydra.verbose=true", "strategy=fedaccum", "seed=3"),
        *(f"hydra.run.dir={folder}", "resume=true"),
    ]
    assert Path.cwd() == tmp_path / "elsewhere"


def test_so_does_a_multirun(folder):
    (folder / "hydra.yaml").rename(folder / "multirun.yaml")
    arguments = begun("withdraw", [f"run={folder}"])
    assert arguments[2] == "-m"
    assert arguments[-2:] == [f"hydra.sweep.dir={folder}", "resume=true"]


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        ("compare", ["run=run"], r"begun by another command: fedunlearn withdraw run="),
        (
            "withdraw",
            ["run=nowhere"],
            r"nowhere.*no run was begun there",
        ),
        ("withdraw", ["run=run", "seed=1"], "leave out everything else"),
        ("withdraw", ["run=run", "-m"], "leave out everything else"),
    ],
)
def test_what_cannot_go_on_is_refused(folder, command, arguments, sentence):
    with pytest.raises(Refused, match=sentence):
        begun(command, arguments)


def test_relative_paths_mean_what_they_meant_or_nothing(folder, tmp_path):
    (tmp_path / "elsewhere").rmdir()
    with pytest.raises(Refused, match="elsewhere, which is gone"):
        begun("withdraw", ["run=run"])


def command(log, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "fedunlearn", "withdraw", *arguments],
        cwd=Path(__file__).parents[2],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_multirun_that_was_killed_does_only_what_is_left(tmp_path):
    sweep = ["-m", "seed=0,1,2", *SMALL]
    with (tmp_path / "log").open("w") as log:
        assert command(log, *sweep, f"hydra.sweep.dir={tmp_path / 'whole'}").wait() == 0
        process = command(log, *sweep, f"hydra.sweep.dir={tmp_path / 'cut'}")
        deadline = time.monotonic() + 300
        while not (tmp_path / "cut/1/checkpoint").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        first = (tmp_path / "cut/0/metrics.csv").stat()
        assert not (tmp_path / "cut/2").exists()
        assert command(log, f"run={tmp_path / 'cut'}").wait() == 0
    assert (tmp_path / "cut/0/metrics.csv").stat().st_mtime_ns == first.st_mtime_ns
    for path in (tmp_path / "whole").rglob("metrics.csv"):
        cut = tmp_path / "cut" / path.relative_to(tmp_path / "whole")
        assert cut.read_bytes() == path.read_bytes()
    models = 2 + 1  # of each run: the untouched model, the strategy's, and the reference
    assert len((tmp_path / "cut/index.csv").read_text().splitlines()) == 1 + 3 * models
