import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom, ks_2samp, norm
from sklearn.metrics import roc_auc_score, roc_curve

from fedunlearn.evaluators import Estimate, scores
from fedunlearn.evaluators.detection import (
    advantage,
    advantage_in_sample,
    advantage_of_models,
    auc,
    auc_of_models,
    tpr_at,
    tpr_at_of_models,
)
from fedunlearn.results.attack_table import unresolved
from tests.support.slow import slowly

EVERYTHING = (
    auc,
    advantage,
    lambda a, b: tpr_at(a, b, 0.1),
    lambda a, b: Estimate(advantage_in_sample(a, b), math.nan, math.nan),
)


def gaussians(shift, n, m, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, n), rng.normal(0, 1, m)


def as_often_as_stated(hits, trials, confidence=0.95):
    """Whether so many of these trials is what a rate gives, but for once in 10,000 times."""
    low, high = binom.interval(0.9999, trials, confidence)
    return low <= hits <= high


@pytest.mark.parametrize(("n", "m"), [(300, 200), (70, 18)])
@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_gaussians_have_the_area_of_the_closed_form_in_their_intervals(shift, n, m):
    area, trials = norm.cdf(shift / math.sqrt(2)), 300
    found = [auc(*gaussians(shift, n, m, seed)) for seed in range(trials)]
    assert as_often_as_stated(sum(e.low <= area <= e.high for e in found), trials)
    assert np.mean([e.value for e in found]) == pytest.approx(area, abs=0.01)


@pytest.mark.parametrize("digits", [8, 0])
def test_area_and_rates_equal_scikit_learn(digits):
    for seed in range(20):
        a, b = (side.round(digits) for side in gaussians(0.7, 60, 35, seed))
        truth, said = np.r_[np.ones(60), np.zeros(35)], np.r_[a, b]
        assert auc(a, b).value == pytest.approx(roc_auc_score(truth, said), abs=1e-12)
        assert auc(a, b).value == pytest.approx(
            scores.auc(torch.from_numpy(a), torch.from_numpy(b)), abs=1e-12
        )
        fpr, tpr, _ = roc_curve(truth, said, drop_intermediate=False)
        assert advantage_in_sample(a, b) == pytest.approx((tpr - fpr).max(), abs=1e-12)
        for rate in (0.0, 0.03, 0.1, 0.5):
            assert tpr_at(a, b, rate).value == pytest.approx(tpr[fpr <= rate].max(), abs=1e-12)


def test_the_interval_of_an_area_solves_its_equation():
    a, b = gaussians(0.8, 40, 25, seed=1)
    found, z, more = auc(a, b, confidence=0.9), norm.ppf(0.95), (40 + 25) / 2 - 1
    for end in (found.low, found.high):
        factor = 1 + more * (1 - end) / (2 - end) + more * end / (1 + end)
        variance = end * (1 - end) * factor / (40 * 25)
        assert abs(end - found.value) == pytest.approx(z * math.sqrt(variance), rel=1e-6)
    assert found.low < found.value < found.high


def test_an_area_of_one_and_that_of_one_member_are_uncertain():
    assert auc([3.0, 4.0], [1.0, 2.0]) == Estimate(1, pytest.approx(0.39, abs=0.02), 1)
    assert auc([1.0, 2.0], [3.0, 4.0]) == Estimate(0, 0, pytest.approx(0.61, abs=0.02))
    alone = auc([2.5], [1.0, 2.0, 3.0])
    assert 0 < alone.low < 0.3 < alone.value < 0.8 < alone.high < 1


def test_swapped_sides_turn_the_area_around():
    a, b = gaussians(0.3, 31, 17, seed=2)
    one, other = auc(a, b), auc(b, a)
    assert (1 - one.value, 1 - one.high) == pytest.approx((other.value, other.low), abs=1e-9)


def models(count, records, seed, accident):
    """Scores [models, records]: those of a model rise and fall together by an accident."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, records)) + accident * rng.normal(size=(count, 1))


def test_the_interval_between_models_knows_that_records_of_a_model_go_together():
    trials, inside, too_short = 300, 0, 0
    for seed in range(trials):
        target, *others = models(9, 80, seed, accident=0.5)
        found = auc_of_models(target, np.array(others))
        inside += found.low <= 0.5 <= found.high
        naive = auc(target, np.concatenate(others))
        assert naive.value == found.value
        too_short += not naive.low <= 0.5 <= naive.high
    assert as_often_as_stated(inside, trials)
    assert too_short > 0.3 * trials


@pytest.mark.parametrize("accident", [1.0, *slowly(0.0)])
def test_rates_of_a_model_like_the_others_have_chance_in_their_intervals(accident):
    """95 % of the time; over records, the advantage's holds it in far fewer."""
    trials, count, records, fpr = 60, 5, 30, 0.1
    size = count * records
    chance = (math.floor(fpr * size) + 1) / (size + 1)
    inside, naive = [0, 0], 0
    for seed in range(trials):
        target, *rest = models(count + 1, records, seed, accident)
        others = np.array(rest)
        found = advantage_of_models(target, others), tpr_at_of_models(target, others, fpr)
        over_records = advantage(target, others.ravel())
        assert found[0].value == over_records.value
        assert found[1].value == tpr_at(target, others.ravel(), fpr).value
        naive += over_records.low <= 0 <= over_records.high
        for place, null in enumerate((0, chance)):
            inside[place] += found[place].low <= null <= found[place].high
    for hits in inside:
        assert as_often_as_stated(hits, trials)
    if accident == 1:
        assert not as_often_as_stated(naive, trials)


def test_rates_of_a_model_unlike_all_others_lie_beyond_their_intervals():
    target, *rest = models(9, 80, seed=0, accident=0.2)
    others = np.array(rest)
    assert advantage_of_models(target + 3, others).low > 0
    assert tpr_at_of_models(target + 3, others, 0.1).low > 0.2


def test_the_interval_between_models_by_hand():
    target, others = np.array([1.0, 5.0]), np.array([[0.0, 2.0], [1.5, 3.0], [4.0, 6.0]])
    # Of 8 pairs each, the three models win 1 (2.0 over 1.5), 3, and all.
    each = [1 / 8, 3 / 8, 8 / 8]
    spread = math.sqrt(2 / 9 * sum((area - 0.5) ** 2 for area in each))
    reach = 4.302652729911275 * spread * math.sqrt(4 / 3)  # t with two degrees of freedom
    found = auc_of_models(target, others)
    assert found == Estimate(
        0.5, pytest.approx(max(0, 0.5 - reach)), pytest.approx(min(1, 0.5 + reach))
    )


def test_a_spread_between_models_needs_two():
    with pytest.raises(ValueError, match="two of them"):
        auc_of_models([1.0, 2.0], [[0.0, 1.0]])


def test_the_advantage_in_sample_is_never_negative_and_the_honest_one_is_unbiased():
    n, m, trials = 120, 80, 200
    nothing = [gaussians(0, n, m, seed) for seed in range(trials)]
    biased = np.array([advantage_in_sample(*sides) for sides in nothing])
    honest = np.array([advantage(*sides, seed=7).value for sides in nothing])
    assert biased.min() >= 0
    assert biased.mean() == pytest.approx(math.sqrt(math.pi / 8 * (1 / n + 1 / m)), rel=0.15)
    assert abs(honest.mean()) < 4 * honest.std() / math.sqrt(trials)
    assert (honest < 0).mean() > 0.3


def test_the_advantage_in_sample_is_the_distance_of_distribution_functions():
    a, b = gaussians(0.6, 50, 40, seed=3)
    assert advantage_in_sample(a, b) == pytest.approx(
        ks_2samp(b, a, alternative="greater").statistic
    )


def test_the_advantage_of_gaussians_is_that_of_the_closed_form_in_its_interval():
    trials, best = 200, 2 * norm.cdf(1.5 / 2) - 1
    found = [advantage(*gaussians(1.5, 300, 200, seed), seed=seed) for seed in range(trials)]
    covered = sum(e.low <= best <= e.high for e in found)
    # a threshold from half of the records is a little worse than the best one
    assert covered > 0.85 * trials
    assert np.mean([e.value for e in found]) == pytest.approx(best, abs=0.03)


def test_the_advantage_judges_every_record_once():
    rng = np.random.default_rng(4)
    found = advantage(rng.normal(size=5) + 100, rng.normal(size=3))
    assert found.value == 1
    assert 0 < found.low < 1 == pytest.approx(found.high)
    assert advantage([1.0, 2.0, 3.0], [0.0, 0.5], seed=1) == advantage(
        [1.0, 2.0, 3.0], [0.0, 0.5], 1
    )


def test_a_rate_by_hand_with_ties():
    others = np.arange(10.0)  # of ten, one false positive is 10 %: all above 8
    members = np.array([7.5, 8.0, 8.5, 9.0, 9.5])
    assert tpr_at(members, others, 0.1).value == 3 / 5
    assert tpr_at(members, others, 0.05).value == 1 / 5
    assert tpr_at(members, others, 0.2).value == 1
    assert tpr_at([9.0, 9.0], [9.0, 9.0], 0.1).value == 0


def test_the_interval_of_a_rate_is_that_of_clopper_and_pearson():
    members, others = np.r_[np.full(7, 2.0), np.full(13, 0.0)], np.ones(50)
    found = tpr_at(members, others, 0.01)
    assert found.value == 7 / 20
    assert found.low == pytest.approx(beta.ppf(0.025, 7, 14))
    assert found.high == pytest.approx(beta.ppf(0.975, 8, 13))
    assert tpr_at(np.zeros(20), others, 0.01).low == 0


def test_chance_reaches_what_the_sentence_says():
    n, m, trials = 50, 65, 400
    found = [tpr_at(*gaussians(0, n, m, seed), 0.01).value for seed in range(trials)]
    assert np.mean(found) == pytest.approx(1 / (m + 1), abs=4 * np.std(found) / math.sqrt(trials))
    assert "chance reaches 1.5%" in unresolved(m, 0.01)


@pytest.mark.parametrize(
    ("others", "rate", "said"),
    [
        (99, 0.01, "cannot be resolved with 99 non-members"),
        (100, 0.01, "TPR at 1.0% FPR rests on 1 of 100 non-members; chance reaches 2.0%. 1,000"),
        (999, 0.01, "rests on 9 of 999"),
        (1000, 0.01, ""),
        (2900, 0.001, "rests on 2 of 2900"),
        (9999, 0.001, "rests on 9 of 9999"),
        (10000, 0.001, ""),
        (700, 0.01, "rests on 7 of 700"),
    ],
)
def test_too_few_others_are_said_in_a_sentence(others, rate, said):
    assert said in unresolved(others, rate)
    assert bool(said) == bool(unresolved(others, rate))


def test_scores_that_are_no_numbers_have_no_statistic():
    for statistic in EVERYTHING:
        for sides in (([math.nan, 1.0], [0.0, 1.0]), ([0.0, 1.0], [math.nan, 1.0])):
            assert math.isnan(statistic(*sides).value)
    assert math.isnan(auc_of_models([1.0, math.nan], [[0.0, 1.0]] * 3).value)
    assert math.isnan(advantage([1.0], [0.0, 2.0]).value)


def test_one_side_alone_is_an_error():
    for statistic in EVERYTHING:
        for sides in (([], [1.0]), ([1.0], [])):
            with pytest.raises(ValueError, match="one side is empty"):
                statistic(*sides)
