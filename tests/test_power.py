"""What nobody forgot is found: the untouched model on a leaver whom it knows by heart."""

import io

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.experiment import run
from fedunlearn.results.frames import forgetting_measures
from fedunlearn.simulations import compare, configured, guard

SETTING = (
    "experiment=digits_backdoor",
    # two labels each: nobody else holds those of the leaver
    *("partition=pathological", "partition.classes=2", "split=0"),
    *("model=mlp", "training.rounds=24", "strategies=[none]", "figures=false"),
)


@pytest.mark.slow
def test_every_measure_about_a_memorised_leaver_lies_outside_the_band(tmp_path):
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", list(SETTING))
        experiment = configured.experiment(cfg, compare.strategies(cfg, "federaser"))
    summary = run(experiment, [0, 1, 2], tmp_path, {}, Console(file=io.StringIO()))
    measures = set(forgetting_measures(summary))
    verdicts = pd.read_csv(tmp_path / "verdicts.csv").set_index(["strategy", "metric"])["verdict"]
    found = verdicts["none"]
    measured = sorted(measures & set(found.index))
    assert len(measured) >= 5
    assert {name: found[name] for name in measured} == dict.fromkeys(measured, "under-forgotten")
