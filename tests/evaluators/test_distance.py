import math
from dataclasses import replace

import pytest

from fedunlearn.evaluators import Distance, comparison
from tests.support.evaluated import randomly, records, saying

SETS = {"forget": randomly(30, seed=0), "test": randomly(50, seed=1)}


def test_without_a_retrained_model_there_is_no_distance():
    assert Distance()(saying(SETS), None) == {}


def test_the_retrained_model_is_at_distance_zero_from_itself():
    assert Distance()(saying(SETS), saying(SETS)) == {
        "weight_distance": 0,
        "weight_cosine": pytest.approx(1, abs=1e-12),
        "forget_activation_distance": 0,
        "test_activation_distance": 0,
        "forget_divergence": 0,
        "test_divergence": 0,
        "forget_agreement": 1,
        "test_agreement": 1,
    }


def test_each_set_is_compared_on_its_own():
    values = Distance()(saying(SETS, scale=-1.0), saying(SETS, scale=0.5))
    for name, held in SETS.items():
        ours, theirs = -held.inputs.flatten(1), 0.5 * held.inputs.flatten(1)
        for compare in (
            comparison.activation_distance,
            comparison.divergence,
            comparison.agreement,
        ):
            expected = compare(ours, theirs)
            assert values[f"{name}_{compare.__name__}"] == pytest.approx(expected, rel=1e-6)
    assert values["forget_divergence"] != values["test_divergence"]


def test_weights_are_seen_from_the_model_before_training():
    ours, theirs = saying(SETS, scale=3.0), saying(SETS, scale=1.0)
    way = (ours.weights, theirs.weights, ours.initial)
    values = Distance()(ours, theirs)
    assert values["weight_distance"] == comparison.weight_distance(*way)
    assert values["weight_cosine"] == comparison.weight_cosine(*way)
    # Not symmetric: the length of the way is that of the retrained model.
    assert Distance()(theirs, ours)["weight_distance"] != values["weight_distance"]


def test_sets_without_records_are_left_out():
    sets = {"forget": records([], []), "test": SETS["test"]}
    values = Distance()(saying(sets), saying(sets, scale=2.0))
    assert not [name for name in values if name.startswith("forget")]
    assert values["test_agreement"] == 1


def test_the_distance_is_normalised_by_that_of_the_model_before_the_request():
    ours, theirs = saying(SETS, scale=3.0), saying(SETS, scale=1.0)
    for scale, expected in ((3.0, 1), (5.0, 0.5), (0.0, 2), (1.0, math.nan)):
        model = replace(ours, original=saying(SETS, scale=scale))
        value = Distance()(model, theirs)["normalised_distance"]
        assert value == pytest.approx(expected, nan_ok=True)
    unknown = Distance()(ours, theirs)
    assert "normalised_distance" not in unknown
    assert unknown.items() <= Distance()(model, theirs).items()
