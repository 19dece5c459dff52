"""What each measure says next to retraining, and how often it is wrong."""

import math

import numpy as np
import pandas as pd
import pytest

from fedunlearn.attacks.training_bank import Member, train_bank
from fedunlearn.data import Backdoor, Digits, Iid, Scenario, build_federation
from fedunlearn.evaluators import BackdoorProbe, Forgetting, Membership, Snapshot, Utility
from fedunlearn.flower import Local
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.models import Mlp
from fedunlearn.results import (
    CARDS,
    RETRAIN_AGAIN,
    VERDICT_COLUMNS,
    Margins,
    judge,
    reference_name,
    told_apart,
)
from fedunlearn.results.permutation_test import exchange
from fedunlearn.unlearning import Training


def frame(values, references, metric="forget_accuracy", strategy="ours", **others):
    """A summary of one metric: ``values`` [S] of a strategy, ``references`` [S, R]."""
    rows = []
    for seed, (value, row) in enumerate(zip(values, references, strict=True)):
        named = {reference_name(n): x for n, x in enumerate(row, start=1)} | {strategy: value}
        for name, x in named.items():
            case = {"seed": seed, "strategy": name, "request": 1, "clients": "0", "probe": "took"}
            rows.append({**case, metric: x, **others, "rounds": 1})
    return pd.DataFrame(rows)


def only(verdicts, strategy="ours"):
    (row,) = verdicts[verdicts.strategy == strategy].to_dict("records")
    return row


class TestVerdict:
    @pytest.mark.parametrize(
        ("metric", "shift", "expected"),
        [
            ("forget_accuracy", 9, "under-forgotten"),
            ("forget_accuracy", -9, "over-forgotten"),
            ("forget_loss", 9, "over-forgotten"),
            ("forget_loss", -9, "under-forgotten"),
            ("membership_auc", 9, "under-forgotten"),
            ("attack_success_rate", 9, "under-forgotten"),
            ("test_accuracy", 9, "outside"),
            ("test_accuracy", -9, "outside"),
            ("of_my_own", -9, "outside"),
        ],
    )
    def test_what_tells_models_apart_has_a_direction_where_there_is_one(
        self, metric, shift, expected
    ):
        x = np.random.default_rng(0).normal(size=(3, 3))
        assert only(judge(frame([shift] * 3, x, metric=metric)))["verdict"] == expected

    def test_inside_is_an_interval_within_the_margin(self):
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(3, 3)), rng.normal(size=3)
        found, sd = exchange(y, x, 0.9), math.sqrt(x.var(axis=1, ddof=1).mean())
        needed = max(-found.low, found.high) / sd
        for spread, expected in ((needed * 1.001, "inside"), (needed * 0.999, "undecided")):
            row = only(judge(frame(y, x, metric="test_loss"), Margins(spread=spread)))
            assert row["verdict"] == expected

    def test_every_forgetting_metric_says_which_side_remembers(self):
        for card in CARDS.values():
            assert (card.remembered is not None) == (card.better == "retrained"), card.name


class TestJudge:
    def test_its_columns_are_those_of_the_contract(self):
        rng = np.random.default_rng(0)
        found = judge(frame(rng.normal(size=3), rng.normal(size=(3, 3))))
        assert list(found) == list(VERDICT_COLUMNS)
        assert found.strategy.tolist() == [RETRAIN_AGAIN, "ours"]
        empty = judge(pd.DataFrame())
        assert list(empty) == list(VERDICT_COLUMNS)
        assert len(empty) == 0

    def test_its_numbers_are_means_the_margin_and_the_exact_interval(self):
        rng = np.random.default_rng(1)
        x, y = 0.5 + rng.normal(0, 0.01, (3, 3)), 0.5 + rng.normal(0, 0.01, 3)
        row, found = only(judge(frame(y, x), Margins(spread=3))), exchange(y, x, 0.9)
        width = 3 * math.sqrt(x.var(axis=1, ddof=1).mean())
        assert row["value"] == pytest.approx(y.mean())
        assert row["reference"] == pytest.approx(x.mean())
        assert row["high"] - row["reference"] == pytest.approx(width)
        assert row["reference"] - row["low"] == pytest.approx(width)
        assert [row[c] for c in ("gap", "gap_low", "gap_high")] == pytest.approx(
            [found.gap, found.low, found.high]
        )
        assert row["p_value"] == found.p_value  # of a measure that is alone

    def test_p_values_allow_for_all_measures_of_a_strategy(self):
        rng = np.random.default_rng(2)
        summary = frame(rng.normal(1.5, 1, 3), rng.normal(size=(3, 3)), metric="m0")
        for place in range(1, 6):
            other = frame(rng.normal(size=3), rng.normal(size=(3, 3)), metric="x")["x"]
            summary[f"m{place}"] = other
        mine = judge(summary).query("strategy == 'ours'").set_index("metric")["p_value"]
        alone = only(
            judge(summary[[c for c in summary if c not in {f"m{n}" for n in range(1, 6)}]])
        )
        assert mine["m0"] >= alone["p_value"]
        measures = {name: summary.pivot(index="seed", columns="strategy", values=name)
                    for name in mine.index}  # fmt: skip
        names = [reference_name(n) for n in (1, 2, 3)]
        _, adjusted = told_apart(
            {name: table["ours"].to_numpy() for name, table in measures.items()},
            {name: table[names].to_numpy() for name, table in measures.items()},
        )
        assert mine.to_dict() == pytest.approx(adjusted)

    def test_the_band_ends_where_the_metric_ends(self):
        row = only(judge(frame([0.99, 1, 1], [[1, 1, 0.98]] * 3)))
        assert row["high"] == 1
        assert row["low"] < 0.98
        row = only(judge(frame([0.99, 1, 1], [[1, 1, 0.98]] * 3, metric="of_my_own")))
        assert row["high"] > 1

    def test_retraining_that_never_varies_has_the_least_margin(self):
        assert only(judge(frame([0.0] * 3, np.zeros((3, 3)))))["verdict"] == "inside"
        one = only(judge(frame([0.0, 0.0, 0.02], np.zeros((3, 3)))))
        assert (one["verdict"], one["p_value"]) == ("undecided", 0.25)
        assert only(judge(frame([0.02] * 3, np.zeros((3, 3)))))["verdict"] == "under-forgotten"

    def test_retraining_again_is_the_second_one_judged_by_the_others(self):
        x = np.random.default_rng(2).normal(size=(3, 4))
        row = only(judge(frame([0, 0, 0], x)), RETRAIN_AGAIN)
        expected = exchange(x[:, 1], x[:, [0, 2, 3]])
        assert (row["gap"], row["p_value"]) == pytest.approx((expected.gap, expected.p_value))
        far = x.copy()
        far[:, 1] += 50
        assert only(judge(frame([0, 0, 0], far)), RETRAIN_AGAIN)["verdict"] == "under-forgotten"

    def test_too_few_models_have_no_rows(self):
        few = judge(frame([0.9, 0.9], np.zeros((2, 3))))
        assert len(few) == 0
        assert len(judge(frame([0.9] * 3, np.zeros((3, 1))))) == 0
        six = judge(frame([0.9] * 6, np.zeros((6, 1))))
        assert six.verdict.tolist() == ["under-forgotten"]
        assert six[["low", "high"]].isna().all(axis=None)
        near = judge(frame([0.1, -0.1] * 3, np.zeros((6, 1))))
        assert near.verdict.tolist() == ["undecided"]

    def test_a_value_that_is_no_number_leaves_it_undecided(self):
        x = np.random.default_rng(4).normal(size=(3, 3))
        for lost in (math.nan, math.inf):
            row = only(judge(frame([0.1, lost, 0.1], x)))
            assert row["verdict"] == "undecided"
            assert math.isnan(row["p_value"])

    def test_distances_to_the_first_reference_and_weights_are_not_judged(self):
        x = np.array([[math.nan, 2.0, 2.1]] * 3)
        for name, card in CARDS.items():
            if card.compares:
                assert len(judge(frame([9.0] * 3, x, metric=name))) == 0, name
        assert len(judge(frame([9.0] * 3, np.nan_to_num(x), metric="of_my_own"))) == 2

    def test_seeds_whose_probe_did_not_take_do_not_count(self):
        x = np.zeros((4, 3))
        summary = frame([0.9, 0.9, 0.9, 0.0], x, metric="attack_success_rate")
        summary.loc[summary.seed == 3, "probe"] = "did not take"
        row = only(judge(summary))
        assert row["gap"] == pytest.approx(0.9)
        assert row["p_value"] == 1 / 64
        summary.columns = [name.replace("attack_success_rate", "other") for name in summary]
        assert only(judge(summary))["gap"] == pytest.approx(0.9 * 3 / 4)

    def test_requests_are_judged_apart(self):
        x = np.zeros((3, 3))
        one, two = frame([0.9] * 3, x), frame([0.0] * 3, x).assign(request=2)
        found = judge(pd.concat([one, two]))
        assert [only(rows)["verdict"] for _, rows in found.groupby("request")] == [
            "under-forgotten",
            "inside",
        ]

    @pytest.mark.slow
    def test_two_sets_of_retrained_models_are_told_apart_as_rarely_as_stated(self):
        rng = np.random.default_rng(7)
        calls = {"inside": 0, "undecided": 0}
        for _ in range(200):
            drawn = 0.9 + rng.normal(0, 0.02, (3, 4))
            called = only(judge(frame(drawn[:, 0], drawn[:, 1:])))["verdict"]
            calls[called] = calls.get(called, 0) + 1
        outside = 200 - calls["inside"] - calls["undecided"]
        assert outside / 200 == pytest.approx(3 / 64, abs=3 * math.sqrt(0.05 * 0.95 / 200))
        assert calls["inside"] / 200 > 0.75


@pytest.mark.slow
def test_really_retrained_models_are_called_outside_as_often_as_stated():
    """48 retrained models of digits: any of them against any others, 400 times, each metric."""
    scenario = Scenario(Digits(), Iid(clients=5), Backdoor(), Mlp((16,)), (0,), seed=0)
    here, remaining = build_federation(scenario), frozenset({1, 2, 3, 4})
    members = [Member(here.network.initial(seed), seed, remaining) for seed in range(48)]
    training = Training(rounds=6, work=LocalWork(epochs=2, optimizer=Sgd(0.1)))
    bank = train_bank(members, Local(mode="cohort").trainer(scenario), training, 6)
    sets = here.evaluation_sets(frozenset({0}), set(remaining))
    measures = (Utility(), Forgetting(), Membership(), BackdoorProbe())
    found = []
    for weights in bank:
        model = Snapshot(here.network, weights, sets, here.initial)
        found.append({k: v for measure in measures for k, v in measure(model, None).items()})
    values = pd.DataFrame(found)
    assert values.nunique().min() > 3
    assert values.test_accuracy.mean() > 0.8
    trials, rng, outside = 400, np.random.default_rng(0), dict.fromkeys(values, 0)
    apart = 0
    for _ in range(trials):
        drawn = rng.permutation(48)[:12].reshape(3, 4)
        for name in values:
            together = values[name].to_numpy()[drawn]
            outside[name] += exchange(together[:, 0], together[:, 1:]).p_value <= 0.05
        models = {name: values[name].to_numpy()[drawn] for name in values}
        own = {name: together[:, 0] for name, together in models.items()}
        apart += told_apart(own, {name: one[:, 1:] for name, one in models.items()})[0] <= 0.05
    error = math.sqrt(0.05 * 0.95 / trials)
    rates = {name: count / trials for name, count in outside.items()}
    assert max(rates.values()) <= 0.05 + 3 * error
    assert apart / trials <= 0.05 + 3 * error
    assert np.mean(list(rates.values())) == pytest.approx(3 / 64, abs=0.015)
    shifted = values["forget_loss"] - 4 * values["forget_loss"].std()
    mine = exchange(shifted.to_numpy()[:3], values["forget_loss"].to_numpy()[3:12].reshape(3, 3))
    assert mine.p_value <= 0.05
