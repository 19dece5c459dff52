"""What nobody forgot is found: the untouched model on a leaver whom it knows by heart."""

import io

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.experiment import run
from fedunlearn.results import load_answers
from fedunlearn.results.frames import forgetting_measures
from fedunlearn.simulations import compare, configured, guard

SETTING = (
    "experiment=digits_backdoor",
    # two labels each: nobody else holds those of the leaver
    *("partition=pathological", "partition.classes=2", "split=0"),
    *("model=mlp", "training.rounds=24", "strategies=[none]", "figures=false"),
)


@pytest.mark.slow
def test_a_leaver_who_is_known_by_heart_is_found_on_all_but_the_weakest_measure(tmp_path):
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", list(SETTING))
        experiment = configured.experiment(cfg, compare.strategies(cfg, "federaser"))
    summary = run(experiment, [0, 1, 2], tmp_path, {}, Console(file=io.StringIO()))
    measures = set(forgetting_measures(summary))
    verdicts = pd.read_csv(tmp_path / "verdicts.csv").set_index(["strategy", "metric"])["verdict"]
    found = verdicts["none"]
    measured = sorted(measures & set(found.index))
    assert len(measured) >= 5
    told = {name for name in measured if found[name] == "under-forgotten"}
    assert len(told) >= len(measured) - 1  # with allowance for all others, the weakest may not be
    assert {"forget_accuracy", "forget_loss", "attack_success_rate"} & set(measured) <= told
    assert not {"over-forgotten", "outside"} & {found[name] for name in measured}
    answer = load_answers(tmp_path).set_index("strategy").loc["none"]
    assert (answer["answer"], answer["to_forget"]) == ("remembers", "yes")
