import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from fedunlearn.evaluators.comparison import (
    activation_distance,
    agreement,
    divergence,
    weight_cosine,
    weight_distance,
)
from fedunlearn.results.normalised_distances import above_floor

OUTPUTS = [activation_distance, divergence, agreement]


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(2, 100, 6, generator=generator)


@pytest.fixture
def models():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 50, generator=generator)


def test_activation_distance_equals_numpy(pair):
    p, q = pair.double().softmax(-1).numpy()
    expected = np.linalg.norm(p - q, axis=1).mean()
    assert activation_distance(*pair) == pytest.approx(expected, rel=1e-12)


def test_divergence_equals_the_square_of_scipys_distance(pair):
    p, q = pair.double().softmax(-1).numpy()
    expected = (jensenshannon(p, q, axis=1) ** 2).mean()
    assert divergence(*pair) == pytest.approx(expected, rel=1e-12)


def test_divergence_of_certainty_from_a_coin():
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4).
    sure, coin = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 0.0]])
    expected = (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2
    assert divergence(sure, coin) == pytest.approx(expected, rel=1e-12)
    assert activation_distance(sure, coin) == pytest.approx(math.sqrt(1 / 2), rel=1e-12)


def test_opposite_certainties_reach_the_bounds():
    one, other = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert divergence(one, other) == pytest.approx(math.log(2), rel=1e-12)
    assert activation_distance(one, other) == pytest.approx(math.sqrt(2), rel=1e-12)
    assert agreement(one, other) == 0


def test_divergence_survives_the_smallest_probabilities():
    # Over this range, exp(-gap) runs through the subnormal numbers into zero.
    gap = torch.linspace(740, 750, 1001, dtype=torch.float64)
    sure = torch.stack([torch.zeros_like(gap), -gap], dim=1)
    coin = torch.tensor([[0.0, -1e5]]).double().expand_as(sure)
    assert divergence(sure, coin) == pytest.approx(0, abs=1e-300)


def test_classes_that_a_model_rules_out_cost_a_finite_divergence():
    one = torch.tensor([[0.0, -math.inf, 0.0]])
    other = torch.tensor([[0.0, -math.inf, -math.inf]])
    p, q = [0.5, 0, 0.5], [1, 0, 0]
    assert divergence(one, other) == pytest.approx(jensenshannon(p, q) ** 2, rel=1e-12)


def test_small_divergence_is_a_quarter_of_the_chi_square():
    # JS(p, q) = sum_c (p_c - q_c)^2 / (8 m_c) + higher orders; for a coin, m_c = 1/2.
    step = 1e-6
    one, other = torch.tensor([[0.0, 0.0]]).double(), torch.tensor([[step, 0.0]]).double()
    difference = 1 / (1 + math.exp(-step)) - 0.5
    assert divergence(one, other) == pytest.approx(difference**2 / 2, rel=1e-6)


def test_a_model_is_at_distance_zero_from_itself(pair, models):
    logits, (weights, _, initial) = pair[0], models
    assert activation_distance(logits, logits) == 0
    assert divergence(logits, logits) == 0
    assert agreement(logits, logits) == 1
    assert weight_distance(weights, weights, initial) == 0
    assert weight_cosine(weights, weights, initial) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("compare", OUTPUTS)
def test_comparisons_of_outputs_are_symmetric(compare, pair):
    one, other = pair
    assert compare(one, other) == compare(other, one)


@pytest.mark.parametrize("compare", OUTPUTS)
def test_a_constant_added_to_the_logits_changes_nothing(compare, pair):
    one, other = pair.double()
    moved = one + torch.linspace(-50, 50, len(one)).double()[:, None]
    assert compare(moved, other) == pytest.approx(compare(one, other), rel=1e-10)


@pytest.mark.parametrize("compare", OUTPUTS)
def test_relabelling_classes_and_reordering_records_changes_nothing(compare, pair):
    one, other = pair
    classes, rows = torch.tensor([5, 3, 1, 0, 2, 4]), torch.randperm(100)
    moved = compare(one[rows][:, classes], other[rows][:, classes])
    assert moved == pytest.approx(compare(one, other), rel=1e-12)


def test_agreement_counts_equal_errors_and_ignores_confidence():
    one = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]])
    other = torch.tensor([[0.1, 0.0], [0.0, 0.1], [0.0, 0.1], [0.1, 0.0]])
    assert agreement(one, other) == 0.75


@pytest.mark.parametrize("compare", OUTPUTS)
def test_different_records_are_refused(compare):
    # [1, 3] would broadcast against [5, 3] without a word.
    for shapes in (((1, 3), (5, 3)), ((5, 3), (5, 4)), ((0, 3), (0, 3))):
        one, other = (torch.zeros(shape) for shape in shapes)
        with pytest.raises(ValueError, match="same records"):
            compare(one, other)


def test_a_model_without_numbers_is_at_no_distance_and_agrees_with_nobody():
    lost = torch.full((2, 3), math.nan)
    assert math.isnan(divergence(lost, lost))
    assert math.isnan(activation_distance(lost, lost))
    assert agreement(lost, lost) == 0


def test_weight_distance_and_cosine_of_a_right_triangle():
    initial, retrained = torch.tensor([1.0, 1.0]), torch.tensor([5.0, 1.0])
    weights = torch.tensor([5.0, 4.0])
    assert weight_distance(weights, retrained, initial) == pytest.approx(3 / 4)
    assert weight_cosine(weights, retrained, initial) == pytest.approx(4 / 5)


def test_the_initial_model_is_at_distance_one_and_has_no_direction(models):
    _, retrained, initial = models
    assert weight_distance(initial, retrained, initial) == 1
    assert math.isnan(weight_cosine(initial, retrained, initial))


def test_retraining_that_moved_nothing_gives_no_measure(models):
    weights, _, initial = models
    assert math.isnan(weight_distance(weights, initial, initial))
    assert math.isnan(weight_cosine(weights, initial, initial))


def test_weight_measures_do_not_depend_on_unit_or_origin(models):
    weights, retrained, initial = models.double()
    shift = torch.linspace(-1, 1, 50).double()
    moved = [4 * model + shift for model in (weights, retrained, initial)]
    for measure in (weight_distance, weight_cosine):
        assert measure(*moved) == pytest.approx(measure(weights, retrained, initial), rel=1e-12)


def test_weight_distance_adds_up_in_float64():
    # In float32, a sum of this many equal squares is off in the fourth digit.
    initial = torch.zeros(2_000_000)
    retrained = torch.full_like(initial, 0.1)
    weights = torch.cat([initial[:500_000], retrained[500_000:]])
    assert weight_distance(weights, retrained, initial) == pytest.approx(0.5, rel=1e-9)


class TestAboveFloor:
    def test_another_retrained_model_is_at_zero_and_no_change_at_one(self):
        assert above_floor(0.1, original=0.5, floor=0.1) == 0
        assert above_floor(0.5, original=0.5, floor=0.1) == 1
        assert above_floor(0.3, original=0.5, floor=0.1) == pytest.approx(0.5)
        assert above_floor(0.9, original=0.5, floor=0.1) == pytest.approx(2)

    def test_it_is_never_below_zero(self):
        assert above_floor(0.05, original=0.5, floor=0.1) == 0

    def test_without_a_floor_it_is_a_share_of_the_original_s(self):
        assert above_floor(0.2, original=0.8, floor=0) == pytest.approx(0.25)

    def test_the_unit_does_not_matter(self):
        plain, scaled = above_floor(0.3, 0.5, 0.1), above_floor(300, 500, 100)
        assert plain == pytest.approx(scaled)

    @pytest.mark.parametrize("floor", [0.5, 0.6, math.nan])
    def test_it_is_no_number_where_the_floor_hides_the_deletion(self, floor):
        assert math.isnan(above_floor(0.4, original=0.5, floor=floor))
