"""`fedunlearn.simulate`: one call from Python, held to the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

import fedunlearn
from fedunlearn.checks import Refused
from fedunlearn.results import ANSWER_COLUMNS, load, load_verdicts
from fedunlearn.simulations import guard
from fedunlearn.simulations.overrides import overrides_of, written
from fedunlearn.simulations.simulate import simulate
from fedunlearn.simulations.simulation import Simulation

ROOT = Path(__file__).parents[2]

TINY = {
    "dataset": "digits",
    "strategies": ["finetune"],
    "model": "mlp",
    "training": {"rounds": 1, "work": {"epochs": 1}},
    "strategy": "finetune",
    "strategy__rounds": 1,
    "partition__clients": 3,
}
"""What a run of seconds is asked for by."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])


def values():
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts()
    return st.recursive(
        plain, lambda inner: st.lists(inner) | st.dictionaries(keys(), inner), max_leaves=8
    )


def texts():
    """Anything but what OmegaConf takes for a reference to another key."""
    alphabet = st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="$")
    return st.text(alphabet)


def keys():
    return st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True)


@settings(deadline=None)
@given(values())
def test_every_value_is_read_by_hydra_as_it_was_given(value):
    (parsed,) = OverridesParser.create().parse_overrides([f"key={written('key', value)}"])
    assert not parsed.is_sweep_override()
    found = unquoted(parsed.value())
    assert found == value
    assert json.dumps(found) == json.dumps(value)  # 1 is not 1.0, nor True


def unquoted(value):
    """Return a value of Hydra's parser with its quoted strings as strings."""
    if isinstance(value, list):
        return [unquoted(one) for one in value]
    if isinstance(value, dict):
        return {unquoted(key): unquoted(one) for key, one in value.items()}
    return getattr(value, "text", value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(0.5), "0.5"),
        (np.arange(2), "[0,1]"),
        ((1, None), "[1,null]"),
        (range(2), "[0,1]"),
        (Path("a b"), "'a b'"),
        ("Null", "'Null'"),
        ("1e-3", "'1e-3'"),
        ("it's", "'it\\'s'"),
        ({"puf": {"eta": 40}}, "{puf:{eta:40}}"),
        ({}, "{}"),
    ],
)
def test_values_of_other_libraries_are_written_as_plain_ones(value, text):
    assert written("key", value) == text


def test_two_underscores_and_mappings_lead_down():
    assert overrides_of({"training__rounds": 4}) == ["training.rounds=4"]
    assert overrides_of({"training": {"work": {"epochs": 1}, "rounds": 4}}) == [
        "training.work.epochs=1",
        "training.rounds=4",
    ]
    assert overrides_of({"model": "mlp", "strategies": [{"puf": {"eta": 4}}, "none"]}) == [
        "model=mlp",
        "strategies=[{puf:{eta:4}},none]",
    ]


@pytest.mark.slow
def test_the_call_gives_the_numbers_of_the_command_line_and_leaves_no_trace():
    threads, path = torch.get_num_threads(), list(sys.path)
    torch.set_num_threads(threads + 1)
    try:
        found = simulate(seeds=2, **TINY)
        again = simulate(seeds=[0, 1], **TINY)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert not GlobalHydra.instance().is_initialized()
    assert sys.path == [*path, str(Path.cwd())]

    assert found.folder != again.folder
    assert found.folder.parent == Path.cwd() / "outputs" / "simulate"
    pd.testing.assert_frame_equal(found.metrics, again.metrics)
    assert set(found.metrics["seed"]) == {0, 1}
    assert set(found.answers["strategy"]) == {"retrain again", "none", "finetune"}
    assert list(found.answers) == [*ANSWER_COLUMNS]
    pd.testing.assert_frame_equal(found.summary, load(found.folder).summary)
    assert len(found.ledger) > 0
    pd.testing.assert_frame_equal(found.verdicts, load_verdicts(found.folder))

    words = ["strategies=[finetune]", "seeds=[0,1]", "model=mlp", "training.rounds=1"]
    words += ["training.work.epochs=1", "strategy=finetune", "strategy.rounds=1"]
    words += ["partition.clients=3", "figures=false", "hydra.run.dir=said"]
    command = [sys.executable, "-m", "fedunlearn", "compare", *words]
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, env=where)
    pd.testing.assert_frame_equal(found.metrics, Simulation(Path("said").absolute()).metrics)


@pytest.mark.slow
def test_what_it_returns_is_shown_drawn_and_reported():
    found = simulate(seeds=1, folder="mine", **TINY)
    assert found.folder == Path("mine").absolute()
    assert "Can anybody tell that client 0 had been there?" in str(found)
    assert str(found).endswith("Results are in mine")
    picture = found.plot()
    assert repr(picture) == "Picture(mine/figures/forgetting.png)"
    assert picture._repr_png_() == Path(picture).read_bytes()
    assert found.plot("forgetting").file == found.folder / "figures" / "forgetting.png"
    with pytest.raises(Refused, match=r"no figure tradeof.*tradeoff"):
        found.plot("tradeof")
    assert found.report() == found.folder / "report.html"
    assert "finetune" in (found.folder / "report.html").read_text()
    with pytest.raises(Refused, match="holds a finished run"):
        simulate(seeds=1, folder="mine", **TINY)
    written = (found.folder / "metrics.csv").stat().st_mtime_ns
    assert simulate(seeds=1, folder="mine", resume=True, **TINY).folder == found.folder
    assert (found.folder / "metrics.csv").stat().st_mtime_ns == written
    simulate(seeds=1, folder="mine", overwrite=True, **TINY)
    assert (found.folder / "metrics.csv").stat().st_mtime_ns > written


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"dataset": "digit"}, "dataset=digit does not exist.*digits"),
        ({"dataset": np.zeros(3)}, "dataset takes the name of one of its choices, .*ndarray"),
        ({"strategies": ["federasor"]}, "strategies=federasor does not exist.*federaser"),
        ({"strategies": []}, "strategies must be all, or a list"),
        ({"strategies": 3}, "strategies must be all, or a list"),
        ({"seeds": 0}, "seeds=0 must be at least 1"),
        ({"seeds": True}, "seeds must be how many, or a list of them, not True"),
        ({"seeds": "3"}, "seeds must be how many"),
        ({"seeds": [-1]}, "Each of seeds must be a whole number of at least 0"),
        ({"seeds": [0, 0.5]}, "Each of seeds must be a whole number"),
        ({"modle": "mlp"}, "modle does not exist.*model"),
        ({"model": "mpl"}, "model=mpl does not exist.*mlp"),
        ({"model": torch.nn.Linear(1, 1)}, "model is given an object of Linear"),
        ({"lr": 0.1}, "lr does not exist by that name. Write .*training.work.optimizer.lr"),
        ({"training__rounds": -1}, "training.rounds must be"),
        ({"training": {"rond": 3}}, "training.rond does not exist"),
        ({"seed": 1}, "does not heed seed=1"),
        ({"strategy": "puf"}, "strategy=puf would change nothing"),
        ({"figures": True}, "simulate does not heed figures.*plot"),
        ({"overrides": ["hydra.run.dir=x"]}, "simulate does not heed hydra.run.dir.*folder="),
        ({"overrides": "model=mlp"}, "overrides must be a list or a mapping"),
        ({"overrides": ["--help"]}, "--help is no KEY=VALUE"),
        ({"overrides": ["-m", "model=mlp,cnn"]}, "-m is no KEY=VALUE"),
        ({"overrides": ["model=mlp,cnn"]}, "model=mlp,cnn gives several values"),
        ({"overrides": [3]}, "Each of overrides is text"),
        ({"overrides": {"model.hiden": 3}}, "model.hiden"),
        ({"withdrawal__clients": [99]}, "99"),
    ],
)
def test_what_the_command_line_refuses_is_refused(asked, sentence):
    with pytest.raises(Refused, match=sentence):
        simulate(**asked)
    assert not Path("outputs").exists()
    assert not GlobalHydra.instance().is_initialized()


def test_strategies_that_hide_ours_are_refused():
    Path("strategies").mkdir()
    Path("strategies/__init__.py").touch()
    with pytest.raises(Refused, match="hides the strategies of fedunlearn"):
        simulate(**TINY)


def test_within_an_app_of_hydras_own_its_state_stays():
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF, job_name="theirs"):
        with pytest.raises(Refused):
            simulate(dataset="digit")
        assert compose("config", overrides=["seed=7"]).seed == 7


def test_the_name_is_found_without_importing_what_it_needs():
    heavy = {"torch", "pandas", "numpy", "hydra", "flwr", "matplotlib", "rich", "lazy_loader"}
    code = (
        "import sys, fedunlearn; assert 'simulate' in dir(fedunlearn); "
        f"print(*{heavy} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.split() == []
    assert fedunlearn.simulate is simulate
    assert fedunlearn.Simulation is Simulation
    with pytest.raises(AttributeError, match="no attribute 'simulte'"):
        _ = fedunlearn.simulte
