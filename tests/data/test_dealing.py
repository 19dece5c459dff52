import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data import Dirichlet, QuantitySkew
from fedunlearn.data.dealing import apportion, choose_holders, deal, draw_until, share_equally


def rng(seed=0):
    return np.random.default_rng(seed)


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=5),
    st.integers(1, 9),
    st.sampled_from([0.01, 0.5, 100.0]),
    st.integers(0, 99),
)
def test_counts_add_up_and_are_off_by_less_than_one(sizes, clients, alpha, seed):
    shares = rng(seed).dirichlet([alpha] * clients, len(sizes))
    counts = apportion(np.array(sizes), shares, rng(seed))
    np.testing.assert_array_equal(counts.sum(axis=1), sizes)
    assert counts.min() >= 0
    assert np.abs(counts - np.array(sizes)[:, None] * shares).max() < 1 + 1e-9


@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize(
    "shares", [[0.2] * 5, [0.05, 0.3, 0.3, 0.3, 0.05], [0.9, 0, 0.1], [1.0], [0.01] * 100]
)
def test_nobody_s_place_is_of_advantage(size, shares):
    """On average everyone gets ``size * share``; rounding the cuts gives a lone record away."""
    draws = 4000
    counts = apportion(np.full(draws, size), np.tile(shares, (draws, 1)), rng())
    np.testing.assert_array_equal(counts.sum(axis=1), size)
    due = size * np.array(shares)
    lacking = due % 1
    spread = np.sqrt(lacking * (1 - lacking) / draws)
    assert (np.abs(counts.mean(axis=0) - due) <= 4.5 * spread + 1e-9).all()


@pytest.mark.parametrize("partition", [Dirichlet, QuantitySkew])
def test_partitions_give_the_places_equal_parts_of_tiny_classes(partition):
    labels = np.arange(40) // 2
    dealt = [partition(5, 1.0, minimum=1)(labels, rng(seed)) for seed in range(400)]
    held = np.array([[len(part) for part in parts] for parts in dealt])
    error = held.std(axis=0) / np.sqrt(len(held))
    assert (np.abs(held.mean(axis=0) - 8) < 4 * error).all()


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
