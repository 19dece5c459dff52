"""Distances above the floor, from rows made by hand."""

import math

import pytest

from fedunlearn.results import CARDS
from fedunlearn.results.normalised_distances import normalised
from tests.support.measured import measured

DISTANCES = [name for name, card in CARDS.items() if card.distance]


def distances(strategy, original, end, seed=0, metric="forget_divergence", phase="unlearn"):
    return [
        (seed, strategy, 1, "unlearn", 0, metric, original),
        (seed, strategy, 1, phase, 2, metric, end),
    ]


def test_no_change_is_one_and_another_retrained_model_is_zero():
    rows = [
        *distances("retrain-2", 0.9, 0.1),
        *distances("none", 0.9, 0.9),
        *distances("half", 0.9, 0.5),
        *distances("near", 0.9, 0.02),
    ]
    table = normalised(measured(rows)).set_index("strategy")
    assert table.normalised.to_dict() == pytest.approx(
        {"retrain-2": math.nan, "none": 1, "half": 0.5, "near": 0}, nan_ok=True
    )
    assert table.loc["half", ["distance", "original", "floor", "seeds"]].tolist() == [
        *(0.5, 0.9, 0.1, 1)
    ]


def test_the_floor_is_the_mean_of_the_other_references():
    rows = [
        *distances("retrain-2", 0.9, 0.1),
        *distances("retrain-3", 0.9, 0.3),
        *distances("mine", 0.9, 0.6),
    ]
    table = normalised(measured(rows)).set_index("strategy")
    floors = {"retrain-2": 0.3, "retrain-3": 0.1, "mine": 0.2}
    assert table.floor.to_dict() == pytest.approx(floors)
    assert table.normalised["mine"] == pytest.approx(0.4 / 0.7)
    assert table.normalised["retrain-3"] == pytest.approx(0.2 / 0.8)


def test_without_a_second_reference_there_is_no_floor():
    row = normalised(measured(distances("mine", 0.9, 0.6))).iloc[0]
    assert math.isnan(row.floor)
    assert math.isnan(row.normalised)
    assert row.distance == 0.6


def test_a_distance_that_does_not_see_the_deletion_says_nothing():
    rows = [*distances("retrain-2", 0.2, 0.9), *distances("mine", 0.2, 0.1)]
    table = normalised(measured(rows)).set_index("strategy")
    assert math.isnan(table.normalised["mine"])
    assert table.floor["mine"] == 0.9


def test_every_seed_has_its_own_floor_and_they_are_averaged():
    rows = [
        row
        for seed, floor in ((0, 0.0), (1, 0.5))
        for row in [
            *distances("retrain-2", 1.0, floor, seed=seed),
            *distances("mine", 1.0, 0.75, seed=seed),
        ]
    ]
    row = normalised(measured(rows)).set_index("strategy").loc["mine"]
    assert row.normalised == pytest.approx((0.75 + 0.5) / 2)
    assert row.normalised_sd == pytest.approx(0.25 / math.sqrt(2))
    assert row.floor == 0.25
    assert row.seeds == 2


def test_the_last_model_is_that_after_recovery():
    rows = [
        *distances("mine", 0.9, 0.6),
        *distances("mine", 0.9, 0.3, phase="recover")[1:],
        (0, "mine", 1, "train", 7, "forget_divergence", 0.1),
    ]
    row = normalised(measured(rows[::-1])).iloc[0]
    assert (row.original, row.distance) == (0.9, 0.3)


def test_each_distance_is_on_its_own_scale_and_nothing_else_is_a_distance():
    rows = [
        row
        for scale, metric in enumerate([*DISTANCES, "test_accuracy"], start=1)
        for row in [
            *distances("retrain-2", 9.0 * scale, 1.0 * scale, metric=metric),
            *distances("mine", 9.0 * scale, 3.0 * scale, metric=metric),
        ]
    ]
    table = normalised(measured(rows))
    mine = table[table.strategy == "mine"]
    assert mine.metric.tolist() == DISTANCES
    assert mine.normalised.tolist() == pytest.approx([0.25] * len(DISTANCES))
