"""One word a strategy: each way to it, by tables whose answer is known."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fedunlearn.checks import Refused
from fedunlearn.results.answering import answers, majority
from fedunlearn.results.columns import ANSWER_COLUMNS, COST_COLUMNS
from fedunlearn.results.margins import Margins, Measured
from fedunlearn.results.power import decidable, power

CLIENTS = pd.DataFrame(
    {"seed": 0, "client": 0, "label": ["0", "1"], "train": [60, 20], "heldout": [8, 2]}
)
SD = 0.01
MEANS = {
    "test_accuracy": 0.95,
    "test_loss": 0.2,
    "forget_accuracy": 0.3,
    "forget_loss": 5.0,
    "membership_auc": 0.5,
}


def table(shifts, seeds=3, references=3, draw=0, spread=SD, **more):
    """A summary: references and strategies that are shifted by so many standard deviations.

    ``shifts[strategy]`` maps metrics to shifts; the untouched model remembers, unless it is named.
    """
    rng = np.random.default_rng(draw)
    names = ["retrain", *(f"retrain-{n}" for n in range(2, references + 1))]
    apart = {"forget_accuracy": 60, "forget_loss": -60, "membership_auc": 30}
    rows = []
    for seed in range(seeds):
        for name in [*names, *{"none": apart, **shifts}]:
            moved = {"none": apart, **shifts}.get(name, {})
            values = {
                metric: mean + spread * (rng.normal() + moved.get(metric, 0))
                for metric, mean in MEANS.items()
            }
            first = {"forget_divergence": math.nan if name == "retrain" else 0.1 * rng.random()}
            case = {"seed": seed, "strategy": name, "request": 1, "clients": "0", "probe": None}
            costs = dict.fromkeys(COST_COLUMNS, 100 if name in names else 50)
            rows.append({**case, **values, **first, **costs, **more})
    found = pd.DataFrame(rows)
    goal = found[found["strategy"].isin(names)].groupby("seed")["test_accuracy"].mean()
    return found.assign(test_accuracy_gap=found["test_accuracy"] - found["seed"].map(goal))


def answered(*given, margins=None, **more):
    found = answers(table(*given, **more), CLIENTS, margins)
    assert list(found) == list(ANSWER_COLUMNS)
    return found.set_index("strategy")


def test_every_word_is_said_of_what_it_means():
    shifts = {
        "good": {},
        "late": {"forget_accuracy": 20},
        "hurt": {"forget_accuracy": -20},
        "dead": {"test_accuracy": -15},
        "dull": {"test_accuracy": -8},
        "nan": {"test_loss": math.nan},
    }
    said = answered(shifts, draw=3)
    words = said["answer"].to_dict()
    assert words.pop("retrain again") in ("as retrained", "undecided")
    assert words == {
        "none": "remembers",
        "good": "as retrained",
        "late": "remembers",
        "hurt": "damaged",
        "dead": "broken",
        "dull": "damaged",
        "nan": "broken",
    }
    assert set(said["to_forget"]) == {"yes"}
    assert said.loc["late", "apart"].split("+")[0] == "forget_accuracy"
    assert said.loc["dull", "apart"].split("+")[0] == "test_accuracy"
    assert said.loc["late", ["work", "bytes"]].tolist() == [0.5, 0.5]
    assert said.loc["retrain again", "work"] == 1
    assert "standard deviations above retraining's (p = 1.6%" in said.loc["late", "reason"]


def test_where_the_untouched_model_passes_there_was_nothing_to_forget():
    said = answered({"none": {}, "finetune": {}}, draw=1)
    assert set(said.loc[["none", "finetune"], "answer"]) == {"nothing to forget"}
    assert set(said["to_forget"]) == {"no"}
    assert "2 standard deviations would be seen in" in said.loc["none", "reason"]


def test_a_strategy_that_is_told_apart_is_so_only_where_there_was_something_to_forget():
    said = answered({"none": {}, "hurt": {"forget_accuracy": -30}}, draw=1)
    assert said.loc["hurt", "answer"] == "nothing to forget"
    assert said.loc["hurt", "apart"] == "forget_accuracy"


@pytest.mark.parametrize(("accuracy", "reason"), [(0.8, "largest class"), (math.nan, "no numbers")])
def test_a_reference_that_is_no_model_gives_no_verdict(accuracy, reason):
    summary = table({"good": {}})
    summary.loc[summary["strategy"] == "retrain-2", "test_accuracy"] = accuracy
    said = answers(summary, CLIENTS)
    assert set(said["answer"]) == {"no verdict"}
    assert reason in said["reason"].iloc[0]
    assert majority(CLIENTS) == 0.8
    assert majority(CLIENTS.assign(heldout=0)) == 0.75


@pytest.mark.parametrize(("seeds", "references"), [(1, 3), (2, 2), (1, 1), (4, 1)])
def test_too_few_models_say_how_many_would_do(seeds, references):
    said = answered({"late": {"forget_accuracy": 20}}, seeds=seeds, references=references)
    assert said.loc["late", "answer"] == "undecided"
    assert math.isnan(said.loc["late", "p_value"])
    assert said.loc["late", "apart"] == ""
    assert "cannot tell anything from chance" in said.loc["late", "reason"]
    assert said.loc["late", "to_forget"] == "unknown"


def test_what_is_open_says_how_many_seeds_would_decide():
    said = answered({"near": {"forget_accuracy": 1.2}}, margins=Margins(spread=1.5), draw=2)
    assert said.loc["near", "answer"] == "undecided"
    assert "seeds would decide" in said.loc["near", "reason"]


def test_two_strategies_with_the_same_models_are_told():
    summary = table({"one": {}})
    twin = summary[summary["strategy"] == "one"].assign(strategy="two")
    said = answers(pd.concat([summary, twin]), CLIENTS).set_index("strategy")
    assert said.loc["two", "reason"].endswith("Its models are those of one.")
    same = summary[summary["strategy"] == "none"].assign(strategy="lazy")
    said = answers(pd.concat([summary, same]), CLIENTS).set_index("strategy")
    assert "Its models are those of none." in " ".join(said["reason"])


def test_a_measure_that_cannot_fail_gives_no_free_point():
    """Constant in every model, the untouched one included: nothing is known of the leavers."""
    summary = table({"good": {}}).drop(columns=["forget_accuracy", "forget_loss", "membership_auc"])
    summary["verification_p_value"] = 1.0
    summary.loc[summary["strategy"] == "none", "test_loss"] += 60 * SD
    said = answers(summary, CLIENTS).set_index("strategy")
    assert said.loc["good", "answer"] == "undecided"
    assert said.loc["good", "reason"].startswith("No measure about the leavers can tell")


def test_distances_to_the_first_reference_have_no_part():
    summary = table({"good": {}}, draw=3)
    far = summary.assign(forget_divergence=summary["forget_divergence"].where(
        summary["strategy"] != "good", 9.0
    ))  # fmt: skip
    pd.testing.assert_frame_equal(answers(summary, CLIENTS), answers(far, CLIENTS))


class TestMeasured:
    def test_gap_and_deviation_are_those_of_the_seeds_that_count(self):
        values = np.array([1.0, 2.0, np.nan])
        references = np.array([[0.0, 2.0], [1.0, 3.0], [5.0, 5.0]])
        one = Measured("forget_loss", values, references)
        assert one.counts.tolist() == [True, True, False]
        assert one.gap == 0
        assert one.sd == pytest.approx(math.sqrt(2))
        assert one.margin(Margins(spread=3)) == pytest.approx(3 * math.sqrt(2))
        assert not one.finite
        assert math.isnan(replace(one, references=references[:, :1]).sd)

    def test_rates_have_a_least_margin_and_losses_have_none(self):
        still = np.zeros(3), np.zeros((3, 3))
        assert Measured("attack_success_rate", *still).margin(Margins()) == 0.01
        assert Measured("forget_loss", *still).margin(Margins()) == 0
        assert Measured("attack_success_rate", *still).constant

    @pytest.mark.parametrize("shift", [-8, 8])
    def test_what_is_far_is_not_equivalent(self, shift):
        rng = np.random.default_rng(0)
        values, references = rng.normal(size=3), rng.normal(size=(3, 3))
        assert Measured("forget_loss", values, references).equivalent(Margins())
        assert not Measured("forget_loss", values + shift, references).equivalent(Margins())


class TestMargins:
    @pytest.mark.parametrize("field", ["utility", "spread", "least"])
    @pytest.mark.parametrize("value", [-1, math.nan, math.inf, "0.1", True, None])
    def test_what_is_no_margin_is_refused(self, field, value):
        with pytest.raises(Refused, match=field):
            Margins(**{field: value})


class TestPower:
    def test_without_a_shift_it_is_the_rate_of_false_alarms(self):
        assert power(0.0, 3, 3, 8) < 0.1

    def test_it_grows_with_the_shift_and_the_design(self):
        found = [power(shift, 3, 3, 8) for shift in (1.0, 2.0, 3.0)]
        assert found == sorted(found)
        assert found[-1] > 0.9
        assert power(2.0, 5, 3, 8) > found[1]

    def test_it_is_nothing_where_there_are_too_few_models(self):
        assert power(9.0, 1, 3, 8) == 0

    def test_it_is_told_in_a_sentence_before_anything_is_trained(self):
        assert decidable(1, 3).startswith("1 seed x 3 references cannot tell anything from chance")
        assert "references=19" in decidable(1, 3)
        shares = [int(n) for n in re.findall(r"(\d+)% of \d", decidable(3, 3, 4))]
        assert len(shares) == 3
        assert shares == sorted(shares)


def test_measures_that_are_the_same_for_all_models_are_not_counted():
    forgetful = {"mine": {"forget_accuracy": 60}}
    with_constant = answered(forgetful, forget_agreement=0.5).loc["mine", "reason"]
    assert with_constant == answered(forgetful).loc["mine", "reason"]
    assert with_constant.endswith(f"with allowance for {len(MEANS)} measures).")
