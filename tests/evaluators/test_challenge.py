"""Bins, F, the final score and relative F: by hand, and calibrated on what is known to be null."""

import math

import numpy as np
import pytest

from fedunlearn.evaluators import fitted_epsilons
from fedunlearn.evaluators.challenge import bins, final_score, points, quality, relative
from fedunlearn.evaluators.fitted_epsilon import raw_epsilons
from fedunlearn.results import RETRAIN_AGAIN
from tests.support.gaussian_confidences import draws
from tests.support.slow import slowly


def test_bins_by_hand():
    assert [bins(n) for n in (3, 16, 32, 64, 128, 256, 512)] == [2, 6, 8, 10, 10, 12, 14]
    with pytest.raises(ValueError, match="three models"):
        bins(2)


def test_points_by_hand():
    epsilon = [0, 0.49, 0.5, 0.99, 1.0, 2.99, 3.0, 50]
    assert points(epsilon, 16).tolist() == [1, 1, 0.5, 0.5, 0.25, 2**-5, 0, 0]


def test_quality_is_the_mean_of_points_and_bins_go_by_the_smaller_side():
    said = {"ours": np.zeros((20, 4)), "theirs": np.zeros((16, 4))}
    found = quality(said["ours"], said["theirs"], lambda a, b: np.array([0, 0.6, 2.6, 3.2]))
    assert found == (1 + 0.5 + 2**-5 + 0) / 4


def test_identical_distributions_are_in_the_top_bin():
    ours, theirs = draws(1, 5000, 40), draws(2, 5000, 40)
    assert quality(ours, theirs, raw_epsilons) == 1
    assert quality(ours[:60], np.random.default_rng(3).permutation(ours[:60])) == 1


def test_what_retraining_scores_against_itself():
    # Measured for 32 models with all three attacks: about 0.17, far from 1.
    assert 0.13 < quality(draws(3, 32, 300), draws(4, 32, 300)) < 0.21
    assert 0.88 < quality(draws(3, 32, 300), draws(4, 32, 300), fitted_epsilons) < 0.97


def test_final_score_by_hand():
    parts = (0.2, (0.9, 0.8), (0.6, 0.8))
    assert final_score(*parts, 0.1) == pytest.approx(0.2 * 9 / 8 * 3 / 4)
    assert final_score(*parts, 0.1, capped=True) == pytest.approx(0.2 * 3 / 4)
    assert final_score(*parts, 0.2) > 0
    assert final_score(*parts, 0.21) == 0
    assert final_score(*parts, 0.21, gate=0.25) > 0
    assert math.isnan(final_score(0.2, (0.9, 0), (0.6, 0.8), 0.1))


def models(seed, seeds, records=12, shift=0.0):
    """Confidences of models of which each is a little better or worse on all records."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=(seeds, 1)), rng.normal(size=(seeds, records))
    return shift + 0.5 * common + 0.85 * own


@pytest.mark.parametrize(("sets", "seeds"), [(1, 16), *slowly((3, 10))])
def test_retraining_is_one_within_its_interval(sets, seeds):
    trials, inside, ratios = 40, 0, []
    for trial in range(trials):
        references = np.stack([models(100 * trial + k, seeds) for k in range(sets)])
        ours = models(100 * trial + 99, seeds)
        found = relative({"x": ours}, references, fitted_epsilons, replicates=25)["x"]
        inside += found.low <= 1 <= found.high
        ratios.append(found.ratio)
    # 95 % of 40 is 38, binomial with a standard deviation of 1.4
    assert inside >= 34
    assert np.mean(ratios) == pytest.approx(1, abs=3 * np.std(ratios) / trials**0.5)


def test_counted_retraining_is_one_within_its_interval():
    inside = 0
    for trial in range(10):
        references = np.stack([models(100 * trial + k, 8, 12) for k in range(2)])
        found = relative({"x": models(100 * trial + 99, 8, 12)}, references, replicates=30)["x"]
        inside += found.low <= 1 <= found.high
    assert inside >= 8


def test_a_shift_is_below_one_and_beyond_its_interval():
    references = np.stack([models(k, 24) for k in range(2)])
    strategies = {"near": models(8, 24), "far": models(9, 24, shift=1.5)}
    found = relative(strategies, references, fitted_epsilons, replicates=40)
    assert list(found) == [RETRAIN_AGAIN, "near", "far"]
    assert found["near"].high > 1 > found["far"].high
    assert found["far"].low < found["far"].ratio < found["far"].high
    assert found["far"].epsilon > found["near"].epsilon + 0.5
    assert found["far"].ratio == pytest.approx(found["far"].quality / found[RETRAIN_AGAIN].ceiling)


def test_models_that_share_a_start_are_never_compared():
    # Seeds say wholly different things; a model and the reference of its seed say the same.
    seeds = 10.0 * np.arange(12)[:, None] + np.zeros(5)
    asked = []

    def estimate(ours, theirs):
        asked.append((set(ours[:, 0].tolist()), set(theirs[:, 0].tolist())))
        return np.zeros(5)

    one = relative({"x": seeds}, seeds[None], estimate, replicates=10)
    assert one["x"].models == 6
    assert all(not ours & theirs for ours, theirs in asked)
    asked.clear()
    sets = np.stack([seeds, seeds + 1, seeds + 2])
    several = relative({"x": seeds + 5}, sets, estimate, replicates=10)
    assert several["x"].models == 12
    against = [theirs for ours, theirs in asked if min(ours) % 10 == 5]
    assert against
    assert {min(theirs) % 10 for theirs in against} == {1, 2}  # not the first set


def test_the_ceiling_is_that_of_all_pairs_of_sets_and_the_same_for_every_strategy():
    references = np.stack([models(k, 6, 8) for k in range(3)])
    found = relative({"x": models(7, 6, 8), "y": models(8, 6, 8)}, references, replicates=10)
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([quality(references[a], references[b]) for a, b in pairs])
    assert [each.ceiling for each in found.values()] == pytest.approx([expected] * 3)
    mine = np.mean([quality(models(7, 6, 8), references[k]) for k in (1, 2)])
    assert found["x"].quality == pytest.approx(mine)
    assert found[RETRAIN_AGAIN].ratio == 1


def test_nothing_forgotten_has_an_interval_that_ends_below_one():
    references = np.stack([models(k, 6, 8) for k in range(2)])
    found = relative({"x": models(9, 6, 8, shift=50)}, references, replicates=20)["x"]
    assert (found.quality, found.ratio, found.low, found.high) == (0, 0, 0, 0)


def test_too_few_models_raise():
    with pytest.raises(ValueError, match="three models"):
        relative({"x": models(0, 5)}, models(1, 5)[None])
