"""The presets of reasons to leave: retraining gains on each one's own measure."""

import io

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.experiment import run
from fedunlearn.results import load
from fedunlearn.simulations import compare, configured, guard


def finished(folder, preset):
    """Run a preset with one seed and nothing but the two ends of the scale."""
    overrides = [f"experiment={preset}", "strategies=[none]", "references=1", "evaluators.every=24"]
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", overrides=overrides)
        chosen = compare.strategies(cfg, "federaser")
        experiment = configured.experiment(cfg, chosen)
        content = configured.content(cfg, chosen)
        run(experiment, (0,), folder, content, Console(file=io.StringIO()))
    return load(folder)


def ends(found, metric):
    """The measure before the request, and of the retrained model."""
    rows = found.metrics[(found.metrics["phase"] == "unlearn") & (found.metrics["round"] == 0)]
    before = rows.loc[rows["metric"] == metric, "value"].iloc[0]
    summary = found.summary.set_index("strategy")
    return before, summary.loc["retrain", metric], summary.loc["none", metric]


@pytest.mark.slow
def test_without_labels_that_are_out_of_date_the_test_records_are_known_better(tmp_path):
    before, retrained, untouched = ends(finished(tmp_path, "drift"), "test_accuracy")
    assert untouched == before
    assert retrained - before > 0.05


@pytest.mark.slow
def test_without_flipped_labels_the_group_is_served_like_the_others(tmp_path):
    found = finished(tmp_path, "bias")
    before, retrained, untouched = ends(found, "group_deficit")
    assert untouched == before > 0.15
    assert abs(retrained) < before / 3
    assert set(found.summary["scope"]) == {"planted"}
    accuracy = ends(found, "test_accuracy")
    assert accuracy[1] > accuracy[0]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["privacy", "edit"])
def test_who_leaves_is_known_less_once_the_federation_is_retrained(preset, tmp_path):
    found = finished(tmp_path, preset)
    before, retrained, _ = ends(found, "forget_loss")
    assert retrained > before
    assert set(found.summary["clients"]) == {"3"}


@pytest.mark.slow
def test_an_edit_adds_one_client_before_it_takes_another_away(tmp_path):
    ledger = finished(tmp_path, "edit").ledger
    trained = ledger[(ledger["phase"] == "train") & (ledger["client"] == 1)]
    assert trained["round"].min() == 9
    again = ledger[(ledger["strategy"] == "retrain") & (ledger["phase"] == "unlearn")]
    assert again.loc[again["client"] == 1, "round"].min() == 9
    assert 3 not in set(again["client"])
    assert pd.Series(again["client"]).nunique() == 9
