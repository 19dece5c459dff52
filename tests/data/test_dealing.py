import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data.dealing import apportion, choose_holders, deal, draw_until, share_equally


def rng(seed=0):
    return np.random.default_rng(seed)


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=5), st.integers(1, 9), st.integers(0, 99)
)
def test_cuts_are_the_nearest_whole_numbers(sizes, clients, seed):
    shares = rng(seed).dirichlet([0.5] * clients, len(sizes))
    counts = apportion(np.array(sizes), shares)
    np.testing.assert_array_equal(counts.sum(axis=1), sizes)
    assert counts.min() >= 0
    exact = np.array(sizes)[:, None] * shares.cumsum(axis=1)
    assert np.abs(counts.cumsum(axis=1) - exact).max() <= 0.5 + 1e-9


def test_which_records_of_a_group_is_chance():
    counts = np.array([[50, 50], [30, 70]])
    groups = np.repeat([0, 1], 100)
    parts = deal(groups, counts, rng())
    np.testing.assert_array_equal([np.bincount(groups[part]) for part in parts], counts.T)
    assert 15 < (parts[0] < 50).sum() < 35


def test_what_does_not_divide_goes_to_random_holders():
    held = np.array([[True, False, True, True]])
    extra = sum(share_equally(np.array([10]), held, rng(seed)) - 3 * held for seed in range(300))
    assert extra.sum() == 300
    np.testing.assert_allclose(extra[held], 100, atol=25)


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_holders_are_balanced(clients, classes, data):
    each = data.draw(st.integers(1, classes))
    held = choose_holders(clients, each, classes, rng())
    np.testing.assert_array_equal(held.sum(axis=0), each)
    assert np.ptp(held.sum(axis=1)) <= 1


def test_draws_end_with_a_sentence():
    draws = iter([np.array([[5, 0], [5, 1]]), np.array([[1, 2], [2, 1]])])
    assert draw_until(lambda: next(draws), 3, "x").sum() == 6
    with pytest.raises(Refused, match=r"with x=1 for partition\.clients=2 .*partition\.minimum=3"):
        draw_until(lambda: np.array([[5, 2]]), 3, "x=1")
