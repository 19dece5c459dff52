"""The presets of reasons to leave: retraining gains on each one's own measure."""

import pandas as pd
import pytest

from tests.support.preset_runs import ends, finished


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
