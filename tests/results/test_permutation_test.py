"""One measure at a time: exact, and right as often as it says, whatever the numbers look like."""

import math

import numpy as np
import pytest
from scipy import stats

from fedunlearn.results.permutation_test import Exchanged, enough, exchange

TRIALS = 1000


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
