"""Epsilon of fitted Gaussians: the closed form, what few models do to it, and the correction."""

import numpy as np
import pytest

from fedunlearn.evaluators import fitted_epsilons
from fedunlearn.evaluators.epsilon import CAP
from fedunlearn.evaluators.fitted_epsilon import bias, gaussian_epsilon, raw_epsilons
from tests.support.gaussian_confidences import closed_form, draws, side

ONE = np.ones(1)


@pytest.mark.parametrize("shift", [0.2, -0.5, 1.0, 3.0])
@pytest.mark.parametrize("delta", [1e-5, 0.05])
def test_equal_spreads_give_the_closed_form(shift, delta):
    expected = closed_form(abs(shift), delta)
    # in other units, from another origin
    found = gaussian_epsilon((7 + 4 * shift * ONE, 4 * ONE), (7 * ONE, 4 * ONE), delta)
    assert found == pytest.approx([expected], rel=1e-2)
    almost = gaussian_epsilon((shift * ONE, 1.000001 * ONE), (0 * ONE, ONE), delta)
    assert almost == pytest.approx(found, rel=1e-3)


def test_unequal_spreads_agree_with_counting_on_a_fine_grid():
    mean, spread, delta = 0.4, 0.5, 0.01
    x = np.linspace(-9, 9, 200_001)
    ours = np.exp(-(((x - mean) / spread) ** 2) / 2) / spread
    theirs = np.exp(-(x**2) / 2)
    order = np.argsort(-(np.log(ours) - np.log(theirs)))
    hit, taken = (np.cumsum(p[order]) / p.sum() for p in (ours, theirs))
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = [
            np.log(np.maximum(1 - delta - a, 0)) - np.log(b)
            for a, b in ((taken, 1 - hit), (1 - hit, taken))
        ]
    expected = max(np.nanmax(way[np.isfinite(way)]) for way in ways)
    sides = (mean * ONE, spread * ONE), (0 * ONE, ONE)
    assert gaussian_epsilon(*sides, delta) == pytest.approx([expected], rel=5e-3)
    assert gaussian_epsilon(*sides[::-1], delta) == pytest.approx([expected], rel=5e-3)


def test_equal_distributions_are_at_zero_and_no_tail_is_believed_below_the_floor():
    assert gaussian_epsilon((2 * ONE, 3 * ONE), (2 * ONE, 3 * ONE)) == [0]
    far = gaussian_epsilon((50 * ONE, ONE), (0 * ONE, ONE), floor=1 / 32)
    assert far == pytest.approx([np.log((1 - 1e-5 - 1 / 32) * 32)])


def test_many_models_come_to_the_closed_form():
    models = 4000
    found = raw_epsilons(draws(1, models, 50, shift=0.5), draws(2, models, 50), delta=0.05)
    assert found.mean() == pytest.approx(closed_form(0.5, 0.05), abs=0.04)


def test_location_and_scale_do_not_matter():
    ours, theirs = draws(3, 20, 30, 0.5), draws(4, 20, 30)
    moved = fitted_epsilons(3 * ours - 8, 3 * theirs - 8)
    assert moved == pytest.approx(fitted_epsilons(ours, theirs), abs=1e-9)


@pytest.mark.parametrize("models", [8, 16, 32, 64])
def test_the_correction_takes_the_bias_of_few_models_away(models):
    ours, theirs = draws(5, models, 3000), draws(6, models, 3000)
    raw = raw_epsilons(ours, theirs)
    assert raw.mean() == pytest.approx(bias(models, models), abs=4 * raw.std() / 3000**0.5)
    assert bias(models, models) > 0.6
    corrected = fitted_epsilons(ours, theirs)
    assert np.median(corrected) < 0.15
    assert corrected == pytest.approx(np.maximum(raw - bias(models, models), 0))


def test_what_cannot_be_fitted_is_capped():
    spread = [0.0, 1, 2, 3]
    for ours in ([1.001, 1.002, 1.003, 1.004], [1, 1, 1, 1], [0, 1, 2, np.nan]):
        assert fitted_epsilons(side(ours), side(spread)) == [CAP]
    assert fitted_epsilons(side([3, 3, 3]), side([2, 2, 2])) == [CAP]
    assert fitted_epsilons(side([2, 2, 2]), side([2, 2, 2])) == [0]
