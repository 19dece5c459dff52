"""Rank correlations of records, their intervals over clients, and what an estimate can show."""

import numpy as np
import pytest

from fedunlearn.attacks.memorization import Bank, of_records
from fedunlearn.attacks.rankings import Clustered, agreement, reachable, spearman

OWNER = np.repeat(np.arange(10), 20)


def test_spearman_ranks_and_leaves_out_what_has_no_value():
    values = np.array([1.0, 2.0, 30.0, np.nan])
    assert spearman(values, np.array([0.1, 0.2, 0.3, 9.0])) == pytest.approx(1)
    assert spearman(values, np.array([3.0, 2.0, 1.0, 9.0])) == pytest.approx(-1)
    assert np.isnan(spearman(values, np.ones(4)))
    assert np.isnan(spearman(values[:2], values[:2]))


def test_an_interval_counts_clients_and_not_records():
    """Two numbers that only differ by client: twenty records say no more than one does."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 10))
    many = Clustered(OWNER).spearman(np.repeat(first, 20), np.repeat(second, 20))
    one = Clustered(np.arange(10)).spearman(first, second)
    assert many.value == pytest.approx(one.value)
    assert (many.low, many.high) == pytest.approx((one.low, one.high))
    assert many.high - many.low > 0.5
    noise = rng.normal(size=200)
    sure = Clustered(OWNER).spearman(noise, noise**3)
    assert (sure.value, sure.low, sure.high) == pytest.approx((1, 1, 1))


def test_what_is_marked_is_told_by_its_values():
    marked = OWNER % 2 == 0
    values = marked + np.linspace(0, 0.5, 200)
    found = Clustered(OWNER).auc(values, marked)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert Clustered(OWNER).auc(-values, marked).value == 0
    assert np.isnan(Clustered(OWNER).auc(values, np.ones(200, bool)).value)


def test_within_clients_differences_between_them_do_not_count():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=200)
    first, second = noise + 100 * OWNER, -noise + 100 * OWNER
    assert spearman(first, second) > 0.9
    assert Clustered(OWNER).within(first, second) == pytest.approx(-1)


def test_halves_that_agree_say_how_far_a_perfect_proxy_comes():
    """Records of known memorization: the truth correlates with its estimate as foretold."""
    rng = np.random.default_rng(2)
    truth = rng.uniform(0, 0.8, 3000)
    held = np.tile((np.arange(40) % 10 < 7)[:, None], (1, 3000))
    held = rng.permuted(held, axis=0)
    correct = rng.random(held.shape) < np.where(held, 0.1 + truth, 0.1)
    bank = Bank(correct, held, np.zeros(3000, int))
    reached = spearman(truth, of_records(bank).value)
    assert reachable(agreement(bank)) == pytest.approx(reached, abs=0.03)
    assert reachable(-0.2) == 0
