import math

import numpy as np
import pandas as pd
import pytest

from fedunlearn.results import METRIC_COLUMNS
from fedunlearn.results.frames import LEAD_ROUNDS, around, goal, horizon, probe, shown_points


def rows(strategy, request, phase, values, metric="test_accuracy", seed=0, first=1):
    return [
        (seed, strategy, request, phase, number, metric, value)
        for number, value in enumerate(values, start=first)
    ]


def table(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=list(METRIC_COLUMNS))


def points(curves, strategy, phase, metric="test_accuracy"):
    chosen = curves[
        (curves["strategy"] == strategy) & (curves["phase"] == phase) & (curves["metric"] == metric)
    ]
    return dict(zip(chosen["x"], chosen["mean"], strict=True))


def summary(**columns):
    size = len(next(iter(columns.values())))
    return pd.DataFrame({"probe": [""] * size, **columns})


def test_training_ends_at_zero_and_recovery_goes_on_where_unlearning_ended():
    metrics = table(
        rows("shared", 0, "train", [0.1] * 20),
        rows("federaser", 1, "unlearn", [0.9, 0.2, 0.5], first=0),
        rows("federaser", 1, "recover", [0.6, 0.7]),
    )
    curves = around(metrics, 1)
    assert list(points(curves, "shared", "train")) == list(range(-LEAD_ROUNDS, 1))
    assert points(curves, "federaser", "unlearn") == pytest.approx({0: 90, 1: 20, 2: 50})
    assert points(curves, "federaser", "recover") == pytest.approx({3: 60, 4: 70})


def test_curves_are_mean_and_sample_deviation_over_seeds():
    values = {0: 0.5, 1: 0.6, 2: 0.8}
    metrics = table(*(rows("none", 1, "unlearn", [v], seed=s) for s, v in values.items()))
    (point,) = around(metrics, 1).itertuples()
    assert point.mean == pytest.approx(100 * np.mean(list(values.values())))
    assert point.sd == pytest.approx(100 * np.std(list(values.values()), ddof=1))


def test_one_seed_has_no_spread():
    assert set(around(table(rows("none", 1, "unlearn", [0.5, 0.6])), 1)["sd"]) == {0.0}


def test_only_accuracies_and_rates_are_in_percent():
    metrics = table(
        rows("none", 1, "unlearn", [0.5], metric="membership_auc"),
        rows("none", 1, "unlearn", [0.5], metric="attack_success_rate"),
    )
    curves = around(metrics, 1)
    assert points(curves, "none", "unlearn", "membership_auc") == {1: 0.5}
    assert points(curves, "none", "unlearn", "attack_success_rate") == {1: 50}


def test_a_second_request_starts_from_each_strategys_own_training():
    metrics = table(
        rows("shared", 0, "train", [0.1] * 10),
        rows("none", 1, "train", [0.2, 0.3], first=11),
        rows("retrain", 1, "train", [0.4, 0.5], first=11),
        rows("none", 2, "unlearn", [0.3, 0.3], first=0),
        rows("none", 1, "unlearn", [0.9], first=0),
    )
    curves = around(metrics, 2)
    assert points(curves, "none", "train") == pytest.approx({-1: 20, 0: 30})
    assert points(curves, "retrain", "train") == pytest.approx({-1: 40, 0: 50})
    assert points(curves, "none", "unlearn") == pytest.approx({0: 30, 1: 30})
    assert "shared" not in set(curves["strategy"])


def test_before_a_second_request_the_earlier_leavers_metrics_are_not_shown():
    metrics = table(
        rows("none", 1, "train", [0.2], metric="forget_accuracy"),
        rows("none", 1, "train", [0.2]),
        rows("none", 2, "unlearn", [0.3], metric="forget_accuracy"),
    )
    curves = around(metrics, 2)
    assert set(curves.loc[curves["phase"] == "train", "metric"]) == {"test_accuracy"}
    assert set(around(metrics.assign(request=metrics["request"] - 1), 1)["metric"]) == {
        "forget_accuracy",
        "test_accuracy",
    }


def test_a_request_right_after_another_has_no_lead():
    curves = around(table(rows("none", 2, "unlearn", [0.3, 0.3], first=0)), 2)
    assert list(curves["x"]) == [0, 1]


@pytest.mark.parametrize(
    ("retraining", "longest", "shown"), [(24, 5, 5), (24, 16, 24), (24, 15, 15), (3, 12, 12)]
)
def test_long_retraining_is_cut_where_it_would_press_the_others_together(
    retraining, longest, shown
):
    metrics = table(
        rows("retrain", 1, "unlearn", [0.5] * retraining),
        rows("finetune", 1, "unlearn", [0.5] * longest),
    )
    assert horizon(around(metrics, 1)) == shown


def test_a_single_round_has_a_width_and_retraining_alone_is_shown_to_its_end():
    alone = rows("retrain", 1, "unlearn", [0.5] * 24)
    assert horizon(around(table(alone, rows("shared", 0, "train", [0.5])), 1)) == 24
    assert horizon(around(table(alone, rows("none", 1, "unlearn", [0.5])), 1)) == LEAD_ROUNDS
    short = table(rows("none", 1, "unlearn", [0.5]), rows("retrain", 1, "unlearn", [0.5] * 6))
    assert horizon(around(short, 1)) == 6


def test_the_goal_is_what_all_references_reached():
    cases = summary(
        strategy=["retrain", "none", "retrain", "retrain-2", "retrain-3"],
        test_accuracy=[0.97, 0.5, 0.99, 0.92, 0.96],
    )
    reached = goal(cases, "test_accuracy")
    assert reached.mean == pytest.approx(96)
    assert reached.sd == pytest.approx(np.std([97, 99, 92, 96], ddof=1))


def test_all_references_are_one_line():
    metrics = table(
        rows("retrain", 1, "unlearn", [0.2, 0.8], first=0),
        rows("retrain-2", 1, "unlearn", [0.2, 0.9], first=0),
        rows("retrain-2", 1, "recover", [1.0]),
        rows("retrain", 1, "recover", [0.6]),
    )
    curves = around(metrics, 1)
    assert set(curves["strategy"]) == {"retrain"}
    assert points(curves, "retrain", "unlearn") == pytest.approx({0: 20, 1: 85})
    assert points(curves, "retrain", "recover") == pytest.approx({2: 80})


def test_a_probe_that_did_not_take_gives_way_to_the_leavers_records():
    cases = summary(strategy=["none"], attack_success_rate_gap=[0.9])
    assert probe(cases.assign(probe="took")) == "attack_success_rate"
    assert probe(cases.assign(probe="did not take")) == "forget_accuracy"
    assert probe(summary(strategy=["none"])) == "forget_accuracy"


def ends(strategies, seeds, accuracies, accuracy_gaps, forget_gaps):
    """Rows of one request's summary, and the points that are drawn of them."""
    cases = summary(
        strategy=strategies,
        seed=seeds,
        test_accuracy=accuracies,
        test_accuracy_gap=accuracy_gaps,
        forget_accuracy=[0.5] * len(seeds),
        forget_accuracy_gap=forget_gaps,
    )
    costs = dict.fromkeys(["client_epochs", "bytes_down", "bytes_up", "store_bytes"], 0)
    return shown_points(cases.assign(request=1, **costs))


def test_the_tradeoff_of_retraining_is_the_distance_of_references_from_each_other():
    strategies = ["retrain", "retrain-2", "none"]
    found = ends(strategies, [0, 0, 0], [0.98, 0.96, 0.9], [0.02, -0.02, -0.07], [0.03, -0.01, 0.5])
    assert set(found.index) == {"retrain", "none"}
    retrained = found.loc["retrain"]
    assert (retrained["utility"], retrained["distance"]) == pytest.approx((97, 2))
    assert retrained["sd"] == pytest.approx(np.std([3, 1], ddof=1))


def test_tradeoffs_are_absolute_distances_with_retraining_at_zero():
    found = ends(
        ["retrain", "none", "none", "gone"],
        [0, 0, 1, 0],
        [0.98, 0.96, 0.94, math.nan],
        [0.0, -0.02, -0.04, math.nan],
        [0.0, 0.3, -0.5, math.nan],
    )
    assert set(found.index) == {"retrain", "none"}
    values = ["utility", "utility_sd", "distance", "sd"]
    assert found.loc["retrain", values].tolist() == pytest.approx([98, 0, 0, 0])
    none = found.loc["none"]
    assert (none["utility"], none["distance"]) == pytest.approx((95, 40))
    assert none["sd"] == pytest.approx(np.std([30, 50], ddof=1))
    assert none["change_sd"] == pytest.approx(np.std([2, 4], ddof=1))
