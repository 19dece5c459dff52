"""Verdicts are right as often as they say, whatever the numbers look like."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedunlearn.attacks.training_bank import Member, train_bank
from fedunlearn.checks import Refused
from fedunlearn.data import Backdoor, Digits, Iid, Scenario, build_federation
from fedunlearn.evaluators import BackdoorProbe, Forgetting, Membership, Snapshot, Utility
from fedunlearn.flower import Local
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.models import Mlp
from fedunlearn.results import AGAIN, CARDS, VERDICTS, judge, reference_name
from fedunlearn.results.permutation_test import Exchanged, enough, exchange, margin
from fedunlearn.results.verdicts import sentences, verdict
from fedunlearn.unlearning import Training

TRIALS = 1000


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


class TestExchange:
    def test_every_model_stands_for_the_strategy_once(self):
        found = exchange(np.array([5.0]), np.array([[1.0, 2.0, 3.0]]))
        assert (found.gap, found.p_value) == (3.0, 1 / 4)
        assert (found.low, found.high) == (-math.inf, math.inf)
        # 2 as the strategy's has the gap 2 - 3 = -1; so have 2 and 5 after a shift by 3 - 1 = 2 …
        middle = exchange(np.array([2.0]), np.array([[1.0, 5.0, 3.0]]))
        assert (middle.gap, middle.p_value) == (-1.0, 3 / 4)

    @pytest.mark.parametrize("shape", [(2, 2), (3, 1), (2, 3)])
    def test_it_is_the_exact_test_of_scipy(self, shape):
        for trial in range(5):
            rng = np.random.default_rng([trial, *shape])
            x = rng.integers(0, 5, shape) / 4
            y = rng.integers(0, 7, shape[0]) / 4
            expected = stats.permutation_test(
                (y, *x.T),
                lambda y, *x: abs(np.mean(y - np.mean(x, axis=0))) + 1e-12,
                permutation_type="samples",
                n_resamples=math.inf,
                alternative="greater",
            )
            assert exchange(y, x).p_value == pytest.approx(expected.pvalue)

    @pytest.mark.parametrize("shape", [(3, 3), (2, 4), (5, 2), (6, 1)])
    def test_the_interval_holds_the_shifts_that_are_not_rejected_and_no_others(self, shape):
        for trial in range(20):
            rng = np.random.default_rng([trial, *shape])
            x, y = rng.normal(size=shape), rng.normal(1.0, 2.0, shape[0])
            found = exchange(y, x, confidence=0.9)
            step = 1e-6 * (found.high - found.low)
            for end, way in ((found.low, -1), (found.high, 1)):
                assert exchange(y - end - way * step, x, 0.9).p_value <= 0.1
                assert exchange(y - end + way * step, x, 0.9).p_value > 0.1
            inner = rng.uniform(found.low, found.high, 20)
            assert all(exchange(y - shift, x, 0.9).p_value > 0.1 for shift in inner)

    def test_a_shift_and_a_scale_move_gap_and_interval_along(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(4, 2)), rng.normal(size=4)
        one, other = exchange(y, x), exchange(3 * (y + 2) - 1, 3 * x - 1)
        assert other.p_value == exchange(y + 2, x).p_value
        for name in ("gap", "low", "high"):
            assert getattr(other, name) == pytest.approx(3 * (getattr(one, name) + 2))

    def test_ties_count_as_equal_in_spite_of_rounding(self):
        thirds = np.array([0.1, 0.2, 0.7]) / 3
        x = np.stack([thirds, thirds, thirds])
        found = exchange(np.full(3, 0.3 / 3 / 1), x)
        assert found.p_value == 1 or found.gap != 0
        same = exchange(np.full(3, 0.4), np.full((3, 3), 0.4))
        assert same == Exchanged(0, 0, 0, 1)

    def test_many_models_are_drawn_and_not_gone_through(self):
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(12, 3)), rng.normal(0.4, 1, 12)
        found = exchange(y, x)
        sd = math.sqrt(x.var(axis=1, ddof=1).mean() * (1 + 1 / 3) / 12)
        assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(found.gap) / sd), rel=0.35)
        assert found.low < found.gap < found.high
        assert found == exchange(y, x)
        far = exchange(y + 100, x)
        assert far.p_value == 1 / 2**17


@pytest.mark.parametrize(
    ("models", "sufficient"),
    {
        (1, 18): False,
        (1, 19): True,
        (2, 3): False,
        (2, 4): True,
        (3, 1): False,
        (3, 2): True,
        (5, 1): False,
        (6, 1): True,
        (9, 0): False,
    }.items(),
)
def test_too_few_models_tell_nothing(models, sufficient):
    seeds, references = models
    assert enough(seeds, references) == sufficient
    if references:
        far = exchange(np.full(seeds, 1e6), np.random.default_rng(0).normal(size=models[::1]))
        assert (far.p_value <= 0.05) == sufficient
        assert math.isfinite(far.low) == sufficient


def test_the_margin_is_where_a_further_retrained_model_falls():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(4000):
        x = rng.normal(size=(2, 4))
        inside += abs(rng.normal() - x[0].mean()) <= margin(x, 0.9)
    assert inside / 4000 == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 4000))
    assert math.isnan(margin(rng.normal(size=(5, 1))))
    assert margin(np.full((3, 3), 0.2)) == pytest.approx(0, abs=1e-12)


NULLS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "of records that many models have right": lambda rng, shape: rng.binomial(40, 0.97, shape) / 40,
    "of attacks that rarely succeed": lambda rng, shape: rng.binomial(1, 0.1, shape) / 360,
    "with a long tail": lambda rng, shape: rng.standard_cauchy(shape),
    "with another spread under each seed": lambda rng, shape: (
        rng.normal(size=shape) * np.geomspace(0.1, 10, shape[0])[:, None] + 5
    ),
}


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (5, 2)])
def test_one_more_retrained_model_is_outside_as_often_as_stated(null, shape):
    seeds, references = shape
    arrangements = (references + 1) ** seeds
    attained = math.floor(0.05 * arrangements) / arrangements  # where there are no ties
    rng = np.random.default_rng([2026, *shape])
    outside = 0
    for _ in range(TRIALS):
        drawn = NULLS[null](rng, (seeds, references + 1))
        outside += exchange(drawn[:, 0], drawn[:, 1:]).p_value <= 0.05
    error = math.sqrt(attained * (1 - attained) / TRIALS)
    assert outside / TRIALS <= attained + 3 * error
    if null not in ("of records that many models have right", "of attacks that rarely succeed"):
        assert outside / TRIALS >= attained - 3 * error


def test_a_t_test_would_not_hold_its_rate_where_successes_are_rare():
    """Why the test is none of normal theory: the spread of retraining is often seen as zero."""
    rng = np.random.default_rng(5)
    called = 0
    for _ in range(TRIALS):
        drawn = rng.binomial(1, 0.1, (3, 4)) / 360
        y, x = drawn[:, 0], drawn[:, 1:]
        sd = math.sqrt(x.var(axis=1, ddof=1).mean() * (4 / 3) / 3)
        gap = abs((y - x.mean(axis=1)).mean())
        called += gap > stats.t.ppf(0.975, 6) * sd
    assert called / TRIALS > 0.08


@pytest.mark.parametrize(
    ("shift", "least", "most"), [(1, 0.15, 0.35), (2, 0.65, 0.85), (4, 0.98, 1)]
)
def test_the_power_against_a_shift(shift, least, most):
    rng = np.random.default_rng(shift)
    found = 0
    for _ in range(400):
        x, y = rng.normal(size=(3, 3)), rng.normal(shift, 1, 3)
        found += exchange(y, x).p_value <= 0.05
    assert least <= found / 400 <= most


class TestVerdict:
    HIGH = Exchanged(1.0, 0.5, 1.5, 0.02)
    LOW = Exchanged(-1.0, -1.5, -0.5, 0.02)

    @pytest.mark.parametrize(
        ("metric", "found", "expected"),
        [
            ("forget_accuracy", HIGH, "under-forgotten"),
            ("forget_accuracy", LOW, "over-forgotten"),
            ("forget_loss", HIGH, "over-forgotten"),
            ("forget_loss", LOW, "under-forgotten"),
            ("membership_auc", HIGH, "under-forgotten"),
            ("attack_success_rate", HIGH, "under-forgotten"),
            ("test_accuracy", HIGH, "outside"),
            ("test_accuracy", LOW, "outside"),
            ("of_my_own", LOW, "outside"),
        ],
    )
    def test_what_is_significant_has_a_direction_where_there_is_one(self, metric, found, expected):
        assert verdict(metric, found, 9.0, 0.95, compares=False) == expected

    def test_inside_is_an_interval_within_the_margin(self):
        near = Exchanged(0.1, -0.5, 0.7, 0.4)
        for width, expected in ((0.7, "inside"), (0.69, "undecided"), (math.nan, "undecided")):
            assert verdict("test_loss", near, width, 0.95, compares=False) == expected
        low = Exchanged(-0.1, -0.7, 0.5, 0.4)
        assert verdict("test_loss", low, 0.69, 0.95, compares=False) == "undecided"
        assert verdict("test_loss", self.HIGH, 9.0, 0.99, compares=False) == "inside"

    def test_nearer_to_the_first_reference_than_others_are_is_not_outside(self):
        for metric, near, far in (
            ("test_divergence", self.LOW, self.HIGH),
            ("test_agreement", self.HIGH, self.LOW),
        ):
            assert verdict(metric, near, 0.1, 0.95, compares=True) == "inside"
            assert verdict(metric, far, 0.1, 0.95, compares=True) == "outside"
            assert verdict(metric, near, 0.1, 0.95, compares=False) == "outside"

    def test_every_forgetting_metric_says_which_side_remembers(self):
        for card in CARDS.values():
            assert (card.remembered is not None) == (card.better == "retrained"), card.name


class TestJudge:
    def test_its_columns_are_those_of_the_contract(self):
        rng = np.random.default_rng(0)
        found = judge(frame(rng.normal(size=3), rng.normal(size=(3, 3))))
        assert list(found) == list(VERDICTS)
        assert found.strategy.tolist() == [AGAIN, "ours"]
        empty = judge(pd.DataFrame())
        assert list(empty) == list(VERDICTS)
        assert len(empty) == 0
        with pytest.raises(Refused, match="confidence must be"):
            judge(pd.DataFrame(), confidence=1.0)

    def test_its_numbers_are_means_the_margin_and_the_exact_interval(self):
        rng = np.random.default_rng(1)
        x, y = 0.5 + rng.normal(0, 0.01, (3, 3)), 0.5 + rng.normal(0, 0.01, 3)
        row, found = only(judge(frame(y, x))), exchange(y, x)
        assert row["value"] == pytest.approx(y.mean())
        assert row["reference"] == pytest.approx(x.mean())
        assert row["high"] - row["reference"] == pytest.approx(margin(x))
        assert row["reference"] - row["low"] == pytest.approx(margin(x))
        assert [row[c] for c in ("gap", "gap_low", "gap_high")] == pytest.approx(
            [found.gap, found.low, found.high]
        )
        assert row["p_value"] == found.p_value

    def test_the_band_ends_where_the_metric_ends(self):
        row = only(judge(frame([0.99, 1, 1], [[1, 1, 0.98]] * 3)))
        assert row["high"] == 1
        assert row["low"] < 0.98
        row = only(judge(frame([0.99, 1, 1], [[1, 1, 0.98]] * 3, metric="of_my_own")))
        assert row["high"] > 1

    def test_a_model_that_remembers_is_under_forgotten_and_one_that_is_damaged_over(self):
        x = np.array([[0.0, 0.01, 0.0], [0.0, 0.0, 0.0], [0.02, 0.0, 0.0]])
        for value, expected in ((0.9, "under-forgotten"), (0.0, "inside")):
            found = judge(frame([value] * 3, x, metric="attack_success_rate"))
            assert only(found)["verdict"] == expected
        x = 0.3 + x
        assert only(judge(frame([0.1] * 3, x)))["verdict"] == "over-forgotten"

    def test_retraining_that_never_varies_has_a_band_of_no_width(self):
        assert only(judge(frame([0.0] * 3, np.zeros((3, 3)))))["verdict"] == "inside"
        one = only(judge(frame([0.0, 0.0, 0.01], np.zeros((3, 3)))))
        assert (one["verdict"], one["p_value"]) == ("undecided", 0.25)
        assert only(judge(frame([0.01] * 3, np.zeros((3, 3)))))["verdict"] == "under-forgotten"

    def test_retraining_again_is_the_second_one_judged_by_the_others(self):
        x = np.random.default_rng(2).normal(size=(3, 4))
        row = only(judge(frame([0, 0, 0], x)), AGAIN)
        expected = exchange(x[:, 1], x[:, [0, 2, 3]])
        assert (row["gap"], row["p_value"]) == (expected.gap, expected.p_value)
        far = x.copy()
        far[:, 1] += 50
        assert only(judge(frame([0, 0, 0], far)), AGAIN)["verdict"] == "under-forgotten"

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

    def test_comparisons_are_judged_by_the_further_references_alone(self):
        x = np.random.default_rng(5).uniform(0.5, 0.6, (3, 3))
        x[:, 0] = math.nan
        near, far = (frame([v] * 3, x, metric="test_divergence") for v in (0.1, 0.9))
        assert only(judge(near))["verdict"] == "inside"
        row = only(judge(far))
        assert (row["verdict"], row["p_value"]) == ("outside", 1 / 27)
        assert row["reference"] == pytest.approx(x[:, 1:].mean())
        assert AGAIN not in set(judge(far).strategy)  # one reference is left to judge another

    def test_weights_are_not_judged_for_first_models_alone_tell_them_apart(self):
        x = np.array([[math.nan, 2.0, 2.1]] * 3)
        for name in ("weight_distance", "weight_cosine", "normalised_distance"):
            assert name in CARDS
            assert len(judge(frame([9.0] * 3, x, metric=name))) == 0
        assert len(judge(frame([9.0] * 3, x, metric="of_my_own"))) == 1

    def test_seeds_whose_probe_did_not_take_do_not_count(self):
        x = np.zeros((4, 3))
        summary = frame([0.9, 0.9, 0.9, 0.0], x, metric="attack_success_rate")
        summary.loc[summary.seed == 3, "probe"] = "did not take"
        row = only(judge(summary))
        assert row["gap"] == pytest.approx(0.9)
        assert row["p_value"] == 1 / 64
        summary.loc[summary.seed == 2, "probe"] = "did not take"
        assert len(judge(summary)) == 0
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
        assert len({line.partition(":")[0] for line in sentences(found)}) == 4

    def test_a_higher_confidence_calls_less_of_them_outside(self):
        rng = np.random.default_rng(6)
        x, y = rng.normal(size=(6, 3)), rng.normal(1.2, 1, 6)
        found = {level: only(judge(frame(y, x), level)) for level in (0.8, 0.99)}
        assert 0.01 < found[0.8]["p_value"] == found[0.99]["p_value"] < 0.2
        assert found[0.8]["verdict"] == "under-forgotten"
        assert found[0.99]["verdict"] in ("inside", "undecided")
        assert found[0.8]["gap_low"] > 0 > found[0.99]["gap_low"]

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


def test_sentences_count_what_is_inside_and_name_what_is_not():
    x = np.random.default_rng(8).normal(0.3, 0.01, (3, 3))
    parts = {
        "test_accuracy": [0.3, 0.3, 0.3],
        "forget_accuracy": [0.9] * 3,
        "forget_loss": [0.1] * 3,
        "membership_auc": [0.1] * 3,
        "test_loss": [0.2] * 3,
    }
    summary = frame(parts["test_accuracy"], x, metric="test_accuracy")
    for name, values in parts.items():
        summary[name] = frame(values, x, metric=name)[name]
    said = sentences(judge(summary))
    assert said[1] == (
        "ours: inside the retrained band on 1 of 5 measures, on 0 of the 3 about the leavers; "
        "under-forgotten on accuracy on the leaver's records and loss on the leaver's records; "
        "over-forgotten on membership AUC; outside on test loss."
    )
    assert said[0].startswith("retrain again: inside the retrained band on ")
    many = judge(summary.assign(**{f"m{n}": summary.forget_loss for n in range(6)}))
    assert "outside on test loss, m0, m1 and 4 others" in sentences(many)[1]
    few = judge(summary[[name for name in summary if name not in parts or "forget" in name]])
    assert sentences(few)[1].startswith("ours: inside the retrained band on 0 of 2 measures; under")


def test_labels_with_commas_do_not_run_into_each_other():
    x = np.array([[math.nan, 0.10, 0.11]] * 3)
    summary = frame([0.6] * 3, x, metric="forget_divergence")
    summary["forget_activation_distance"] = 2 * summary.forget_divergence
    (said,) = sentences(judge(summary))
    assert said.endswith(
        "outside on divergence (leaver's records) and activation distance (leaver's records)."
    )


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
    for _ in range(trials):
        drawn = rng.permutation(48)[:12].reshape(3, 4)
        for name in values:
            together = values[name].to_numpy()[drawn]
            outside[name] += exchange(together[:, 0], together[:, 1:]).p_value <= 0.05
    error = math.sqrt(0.05 * 0.95 / trials)
    rates = {name: count / trials for name, count in outside.items()}
    assert max(rates.values()) <= 0.05 + 3 * error
    assert np.mean(list(rates.values())) == pytest.approx(3 / 64, abs=0.015)
    shifted = values["forget_loss"] - 4 * values["forget_loss"].std()
    mine = exchange(shifted.to_numpy()[:3], values["forget_loss"].to_numpy()[3:12].reshape(3, 3))
    assert mine.p_value <= 0.05
