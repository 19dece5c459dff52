import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as shannon
from scipy.stats import norm

from fedunlearn.evaluators import attack_scores, confidence, detection, scores
from fedunlearn.evaluators.attack_scores import entropy, loss, modified_entropy, per_client
from fedunlearn.evaluators.likelihood import (
    FEW,
    lira,
    lira_offline,
    mean_where,
    rmia,
    rmia_average,
    u_lira,
)

OF_LABELS = (confidence, loss, modified_entropy)
OF_LOGITS = (*OF_LABELS, lambda logits, labels: entropy(logits))


@pytest.fixture
def said():
    rng = np.random.default_rng(0)
    return 3 * rng.normal(size=(40, 5)), rng.integers(5, size=40)


def probabilities(logits):
    e = np.exp(logits)
    return e / e.sum(axis=-1, keepdims=True)


def test_modified_entropy_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])
    right = 0.3 * math.log(0.7) + 0.2 * math.log(0.8) + 0.1 * math.log(0.9)
    wrong = 0.8 * math.log(0.2) + 0.7 * math.log(0.3) + 0.1 * math.log(0.9)
    assert modified_entropy(np.log(p), [0, 1]) == pytest.approx([right, wrong], rel=1e-12)
    # what the implementation says that writes whole columns and takes log p for log (1 - p)
    copied = 0.3 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)
    assert abs(right - copied) > 0.3


def test_modified_entropy_of_a_model_that_is_sure():
    # Of two classes, 1 - p_y = p_c: the score is 2 (1 - p_y) log p_y.
    sure = modified_entropy([[50.0, 0.0]] * 2, [0, 1])
    assert sure == pytest.approx([-2 * math.exp(-100), -100], rel=1e-12)
    assert modified_entropy([[1000.0, 0.0]] * 2, [0, 1]).tolist() == [0, -2000]


def test_confidence_is_the_logit_of_the_probability(said):
    logits, labels = said
    p = probabilities(logits)[np.arange(40), labels]
    assert confidence(logits, labels) == pytest.approx(np.log(p / (1 - p)), rel=1e-9)


def test_confidence_goes_on_where_probabilities_round_to_one():
    logits = torch.tensor([[100.0, 0.0, 0.0], [200.0, 0.0, 0.0], [0.0, 0.0, 900.0]])
    found = confidence(logits, [0, 0, 0])
    assert found == pytest.approx([100 - math.log(2), 200 - math.log(2), -900], rel=1e-12)
    assert loss(logits, [0, 0, 0]) == pytest.approx([-2 * math.exp(-100), 0, -900], rel=1e-12)
    assert confidence(logits, [0, 0, 0]).dtype == np.float64


def test_loss_is_the_loss_that_the_metrics_use(said):
    logits, labels = said
    expected = -scores.losses(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()
    assert loss(logits, labels) == pytest.approx(expected, rel=1e-12)


def test_loss_and_confidence_order_the_records_of_a_model_alike(said):
    assert (np.argsort(loss(*said)) == np.argsort(confidence(*said))).all()


def test_entropy_equals_scipy(said):
    logits, _ = said
    assert entropy(logits) == pytest.approx(-shannon(probabilities(logits), axis=1), rel=1e-12)
    assert entropy([[0.0] * 7]) == pytest.approx([-math.log(7)])
    assert entropy([[0.0, 900.0]]).tolist() == [0]


@pytest.mark.parametrize("score", OF_LOGITS)
def test_a_constant_added_to_the_logits_changes_nothing(said, score):
    logits, labels = said
    moved = logits + np.linspace(-50, 50, 40)[:, None]
    np.testing.assert_allclose(score(moved, labels), score(logits, labels), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("score", OF_LOGITS)
def test_several_models_are_scored_as_each_by_itself(said, score):
    logits, labels = said
    both = score(np.stack([logits, -logits]), labels)
    assert (both == np.stack([score(logits, labels), score(-logits, labels)])).all()


@pytest.mark.parametrize("score", OF_LOGITS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_model_without_numbers_scores_none(score, bad):
    found = score([[bad, 0.0, 1.0], [1.0, 0.0, 2.0]], [0, 0])
    assert np.isnan(found).tolist() == [True, False]


@pytest.mark.parametrize("score", OF_LABELS)
def test_scores_rise_with_the_probability_of_the_label(score):
    found = score([[gap, 0.0, 0.0] for gap in range(-30, 31, 5)], [0] * 13)
    assert (np.diff(found) > 0).all()


def test_one_class_cannot_be_attacked():
    for score in OF_LOGITS:
        with pytest.raises(ValueError, match="fewer than two classes"):
            score([[1.0]], [0])


def test_a_client_scores_the_mean_of_its_records():
    found = per_client([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]], [7, 3, 7])
    assert found.tolist() == [[2.0, 3.5], [0.0, 1.5]]  # clients 3 and 7


def test_lira_by_hand_with_a_spread_for_each_record():
    inside, outside = [[4.0, 0.0], [6.0, 3.0]], [[1.0, 5.0], [2.0, 5.5]]
    held = [[True, True], [True, True], [False, False], [False, False]]
    found = lira([5.0, 1.0], inside + outside, held, "record")
    expected = [
        norm.logpdf(5, 5, math.sqrt(2)) - norm.logpdf(5, 1.5, math.sqrt(0.5)),
        norm.logpdf(1, 1.5, math.sqrt(4.5)) - norm.logpdf(1, 5.25, math.sqrt(0.125)),
    ]
    assert found == pytest.approx(expected, rel=1e-12)


def test_lira_pools_the_spread_of_few_models_and_finds_who_held_what():
    shadows = np.array([[4.0, 7.0], [6.0, 3.0], [1.0, 5.0], [2.0, 6.0]])
    held = np.array([[True, False], [True, True], [False, False], [False, True]])
    # record 0: IN 4, 6, OUT 1, 2; record 1: IN 3, 6, OUT 7, 5; one degree of freedom each
    s_in, s_out = math.sqrt((2 + 4.5) / 2), math.sqrt((0.5 + 2) / 2)
    expected = [
        norm.logpdf(3, 5, s_in) - norm.logpdf(3, 1.5, s_out),
        norm.logpdf(9, 4.5, s_in) - norm.logpdf(9, 6, s_out),
    ]
    assert lira([3.0, 9.0], shadows, held) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("models", "same_as"), [(FEW - 2, "shared"), (FEW, "record")])
def test_the_number_of_models_says_whether_the_spread_is_shared(models, same_as):
    rng = np.random.default_rng(1)
    shadows = rng.normal(size=(models, 3)) * [1, 2, 3]
    held = np.repeat([[True], [False]], models // 2, axis=0) & np.ones(3, bool)
    values = rng.normal(size=(2, 3))
    assert (lira(values, shadows, held) == lira(values, shadows, held, same_as)).all()
    assert (lira(values, shadows, held, "shared") != lira(values, shadows, held, "record")).all()
    out = shadows[: models // 2]
    assert (lira_offline(values, out) == lira_offline(values, out, "shared")).all()


def test_lira_of_swapped_sides_turns_its_sign():
    rng = np.random.default_rng(2)
    shadows, held = rng.normal(size=(8, 5)), rng.permuted(np.arange(40).reshape(8, 5), axis=0)
    held = held % 8 < 0  # nobody
    held[:4] = True
    values = rng.normal(size=5)
    assert lira(values, shadows, ~held) == pytest.approx(-lira(values, shadows, held), rel=1e-12)


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_lira_of_gaussians_has_the_area_of_the_closed_form(shift):
    # With equal spreads the ratio rises with phi, and members lie ``shift`` spreads higher.
    rng = np.random.default_rng(3)
    hardness, spread = rng.normal(0, 20, 2000), 3.0
    held = np.zeros((200, 2000), bool)
    held[:100] = True
    shadows = hardness + spread * (rng.normal(size=held.shape) + shift * held)
    member = np.arange(2000) < 1000
    values = hardness + spread * (rng.normal(size=2000) + shift * member)
    area = norm.cdf(shift / math.sqrt(2))
    for score in (lira(values, shadows, held), lira_offline(values, shadows[100:])):
        found = detection.auc(score[member], score[~member], confidence=0.999)
        assert found.low < area < found.high
    # how hard a record is drowns what one model says by itself
    alone = detection.auc(values[member], values[~member], confidence=0.999)
    assert alone.high < area


def test_offline_lira_orders_as_the_normal_distribution_function_and_goes_on_beyond():
    outside = np.array([[0.0], [2.0]])  # mean 1, variance 2
    values = np.array([[1.0], [3.0], [100.0], [200.0]])
    found = lira_offline(values, outside)[:, 0]
    assert found == pytest.approx((values[:, 0] - 1) / math.sqrt(2), rel=1e-12)
    assert norm.cdf(found[:2]) == pytest.approx([0.5, norm.cdf(math.sqrt(2))])
    assert found[3] > found[2]


def test_u_lira_is_the_ratio_of_unlearned_to_retrained():
    rng = np.random.default_rng(4)
    unlearned, retrained = rng.normal(2, 1, (5, 6)), rng.normal(0, 1, (3, 6))
    values = rng.normal(size=(2, 6))
    expected = norm.logpdf(values, unlearned.mean(0), unlearned.std(0, ddof=1)) - norm.logpdf(
        values, retrained.mean(0), retrained.std(0, ddof=1)
    )
    assert u_lira(values, unlearned, retrained, "record") == pytest.approx(expected, rel=1e-9)


def test_models_that_all_say_the_same_have_no_infinite_ratio():
    found = lira([1.0, 2.0], np.ones((4, 2)), [[True] * 2] * 2 + [[False] * 2] * 2)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("spread", ["auto", "record", "shared"])
def test_too_few_shadow_models_are_an_error(spread):
    with pytest.raises(ValueError, match="Too few shadow models"):
        lira([1.0], [[1.0], [2.0], [3.0]], [[True]] * 3, spread)  # nobody without it
    with pytest.raises(ValueError, match="Too few shadow models"):
        lira([1.0], [[1.0], [2.0]], [[True], [False]], spread)
    with pytest.raises(ValueError, match="Too few shadow models"):
        lira_offline([1.0], [[1.0]], spread)
    shadows, held = np.arange(8.0).reshape(4, 2), [[True, True], [True, False], [False, True]]
    held = np.array([*held, [False, False]])
    held[2, 1] = False  # record 1: one model with it, three without
    if spread == "record":
        with pytest.raises(ValueError, match="Too few shadow models"):
            lira([1.0, 1.0], shadows, held, spread)
    else:
        assert np.isfinite(lira([1.0, 1.0], shadows, held, spread)).all()


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_rmia_counts_the_population_that_a_record_beats(gamma):
    rng = np.random.default_rng(5)
    x, mean_x, z, mean_z = rng.random((4, 30))
    expected = [np.mean((a / b) / (z / mean_z) >= gamma) for a, b in zip(x, mean_x, strict=True)]
    assert rmia((x, mean_x), (z, mean_z), gamma) == pytest.approx(expected)


def test_rmia_counts_a_tie_and_survives_what_no_model_thinks_possible():
    found = rmia(([0.5, 0.4, 0.0], [0.5, 0.5, 0.0]), ([0.3, 0.9], [0.3, 0.3]))
    assert found.tolist() == [0.5, 0, 0]
    assert np.isnan(rmia(([math.nan, 0.4], [0.5, 0.5]), ([0.3], [0.3]))).all()
    assert np.isnan(rmia(([0.4], [0.5]), ([math.nan], [0.3]))).all()


def test_rmia_averages_online_and_offline():
    assert rmia_average([0.2, 0.4], [0.6, 1.0]) == pytest.approx([0.4, 0.7])
    assert rmia_average([0.2], a=0.3) == pytest.approx([((1 + 0.3) * 0.2 + 1 - 0.3) / 2])
    assert rmia_average([0.2], a=1) == pytest.approx([0.2])


def test_a_mean_over_no_models_is_none():
    found = mean_where([[1.0, 2.0], [3.0, 4.0]], [[True, False], [True, False]])
    assert found[0] == 2
    assert math.isnan(found[1])


def test_the_scores_of_this_module_take_tensors(said):
    logits, labels = said
    held = attack_scores.confidence(torch.from_numpy(logits), torch.from_numpy(labels))
    assert (held == confidence(logits, labels)).all()
