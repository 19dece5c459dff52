"""A run says which goals each model missed, by its own tables, and releases none that did."""

from dataclasses import replace

import pandas as pd
import pytest

from fedunlearn.results import load_metrics, load_requests, load_verdicts
from fedunlearn.results.certificates import Thresholds
from strategies.finetune import FineTune
from strategies.none import Nothing
from tests.support.small_experiment import SMALL, carried_out

THRESHOLDS = Thresholds(
    {},
    "thresholds",
    ({"measure": "forget_loss"}, {"measure": "attack_success_rate", "verdict": "at most 0.2"}),
    ({"measure": "test_accuracy", "margin": 0.05},),
)


@pytest.mark.slow
def test_what_is_missed_is_what_the_tables_say(tmp_path):
    strategies = {"none": Nothing(), "finetune": FineTune(1)}
    experiment = replace(SMALL, strategies=strategies, thresholds=THRESHOLDS, references=2)
    carried_out(experiment, tmp_path, seeds=(0, 1, 2))
    rows = load_metrics(tmp_path)
    rows = rows[rows["phase"] == "unlearn"].sort_values("round")
    values = rows.groupby(["seed", "strategy", "metric"])["value"].agg(["first", "last"])
    verdicts = load_verdicts(tmp_path).set_index(["strategy", "metric"])["verdict"]
    requests = load_requests(tmp_path).set_index(["seed", "strategy"])
    assert len(requests) == 3 * 4
    for (seed, strategy), row in requests.iterrows():
        missed = {one.partition(":")[0] for one in row["missed"].split("; ") if one}
        expected = set()
        retrained = strategy.startswith("retrain")
        if not retrained and verdicts[strategy, "forget_loss"] != "inside":
            expected.add("forget_loss")
        if values.loc[(seed, strategy, "attack_success_rate"), "last"] > 0.2:
            expected.add("attack_success_rate")
        accuracy = values.loc[(seed, strategy, "test_accuracy")]
        if accuracy["first"] - accuracy["last"] > 0.05:
            expected.add("test_accuracy")
        probed = pd.read_csv(tmp_path / "summary.csv").set_index(["seed", "strategy"])["probe"]
        if probed[seed, strategy] == "did not take":
            expected.add("attack_success_rate")
        assert missed == expected, (seed, strategy)
        if missed:
            assert row["decision"] == "rejected"
    assert (requests["missed"] != "").any()
