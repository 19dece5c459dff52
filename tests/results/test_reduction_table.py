"""Reductions are those of the two ends of serving a request."""

import math

import pandas as pd
import pytest

from fedunlearn.results import reductions, reference_name

MOMENTS = [("train", 1), ("unlearn", 0), ("unlearn", 1), ("recover", 1)]


def rows(strategy, metric, values, seed=0, request=1):
    """Metrics.csv of one branch: the first value is of training, the second before the request."""
    return [
        (seed, strategy, request, phase, number, metric, value)
        for (phase, number), value in zip(MOMENTS, values, strict=True)
    ]


def table(*branches):
    columns = ["seed", "strategy", "request", "phase", "round", "metric", "value"]
    frame = pd.DataFrame([row for branch in branches for row in branch], columns=columns)
    return reductions(frame).set_index(["request", "strategy", "metric"])


def test_reductions_are_per_cent_of_the_value_before():
    found = table(rows("a", "attack", [0.1, 0.8, 0.5, 0.2]), rows("a", "loss", [9, 2, 2, 3]))
    assert found.loc[(1, "a", "attack")].tolist() == pytest.approx([0.8, 0.2, 75.0])
    assert found.loc[(1, "a", "loss")].tolist() == pytest.approx([2, 3, -50.0])


def test_means_over_seeds_come_before_per_cent():
    both = (rows("a", "x", [0, 1.0, 0, 0.5]), rows("a", "x", [0, 3.0, 0, 0.5], seed=1))
    assert table(*both).loc[(1, "a", "x")].tolist() == pytest.approx([2.0, 0.5, 75.0])


def test_further_references_are_retraining():
    again = reference_name(2)
    found = table(rows("retrain", "x", [0, 1, 0, 0.2]), rows(again, "x", [0, 1, 0, 0.4]))
    assert found.loc[(1, "retrain", "x")].tolist() == pytest.approx([1.0, 0.3, 70.0])
    assert len(found) == 1


def test_nothing_is_made_up_for_zeros_and_seeds_without_a_number():
    nan = math.nan
    found = table(
        rows("a", "zero", [0, 0.0, 0, 0.1]),
        rows("a", "gone", [0, 1, 0, nan]),
        rows("a", "gone", [0, 1, 0, 0.5], seed=1),
    )
    assert math.isnan(found.loc[(1, "a", "zero"), "reduction"])
    assert math.isnan(found.loc[(1, "a", "gone"), "reduction"])


def test_numbers_of_one_client_are_left_out():
    assert len(table(rows("a", "x/3", [0, 1, 0, 1]), rows("a", "x", [0, 1, 0, 1]))) == 1
