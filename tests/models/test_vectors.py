import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.models import lengths, mean, rescale

WHOLE = [slice(None)]


def test_mean_weighs_by_examples():
    deltas = torch.tensor([[1.0, 0.0], [4.0, 3.0]])
    torch.testing.assert_close(mean(deltas, torch.tensor([1, 2])), torch.tensor([3.0, 2.0]))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8), st.integers(2, 10**9))
def test_scaling_all_examples_changes_nothing(examples, factor):
    deltas = torch.randn(len(examples), 5, generator=torch.Generator().manual_seed(0))
    one = mean(deltas, torch.tensor(examples))
    torch.testing.assert_close(one, mean(deltas, torch.tensor(examples) * factor))


@pytest.mark.parametrize(
    "weights",
    [
        [0, 0],
        [-1, 1],
        [3, -1],
        [-2, -3],
        [float("nan"), 1.0],
        [float("inf"), 1.0],
        [1e308, 1.7e308],
    ],
)
def test_weights_that_sum_to_nothing_or_are_none_make_no_mean(weights):
    with pytest.raises(ValueError, match=r"^The weights of a mean must be finite"):
        mean(torch.ones(2, 3), torch.tensor(weights, dtype=torch.float64))


def test_who_weighs_nothing_does_not_count():
    deltas = torch.tensor([[1.0, 2.0], [5.0, 5.0]])
    assert torch.equal(mean(deltas, torch.tensor([3, 0])), deltas[0])


def test_the_mean_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="mean of no updates"):
        mean(torch.empty(0, 3), torch.empty(0))


def test_rescale_keeps_the_direction_and_takes_the_length():
    directions, like = (
        torch.tensor([[3.0, 4.0], [0.0, 2.0]]),
        torch.tensor([[0.0, 1.0], [6.0, 8.0]]),
    )
    scaled = rescale(directions, like, WHOLE)
    torch.testing.assert_close(lengths(scaled), lengths(like))
    torch.testing.assert_close(scaled, torch.tensor([[0.6, 0.8], [0.0, 10.0]]))


def test_rescale_is_the_identity_on_itself():
    vectors = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rescale(vectors, vectors, [slice(0, 4), slice(4, 9)]), vectors)


def test_rescale_works_slice_by_slice_and_leaves_the_rest_alone():
    directions = torch.tensor([1.0, 1.0, 7.0, 5.0])
    like = torch.tensor([2.0, 2.0, 14.0, 1.0])
    scaled = rescale(directions, like, [slice(0, 2), slice(2, 3)])
    torch.testing.assert_close(scaled, torch.tensor([2.0, 2.0, 14.0, 5.0]))
    assert torch.equal(directions, torch.tensor([1.0, 1.0, 7.0, 5.0]))


def test_rescale_clips_the_ratio_and_survives_zero():
    scaled = rescale(torch.tensor([[1.0], [0.0]]), torch.tensor([[50.0], [50.0]]), WHOLE, 10.0)
    torch.testing.assert_close(scaled, torch.tensor([[10.0], [0.0]]))
