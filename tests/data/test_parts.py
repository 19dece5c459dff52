import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data.parts import holdout, label_counts, validate


def parts(*lists):
    return tuple(np.array(part, np.int64) for part in lists)


def test_a_partition_passes_unchanged():
    good = parts([0, 3], [1, 2, 4])
    assert validate(good, 5, 2) is good


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (parts([0, 1], [1, 2, 3]), "4 different ones in 5 places"),
        (parts([0, 1], [3, 4]), "4 different ones in 4 places"),
        (parts([0, 1], [2, 3, 5]), "each of 5 records to exactly one"),
        (parts([1, 0], [2, 3, 4]), "client 0 out of order"),
        (parts([0, 0], [1, 2, 3, 4]), "client 0 out of order"),
        (parts([0], [1, 2, 3, 4]), r"Client 0 would hold 1 records, fewer than partition\.minimum"),
        ((), "each of 5 records"),
    ],
)
def test_what_divides_nothing_is_refused(bad, message):
    with pytest.raises(Refused, match=message):
        validate(bad, 5, 2)


@given(st.sets(st.integers(0, 500), min_size=2, max_size=60), st.floats(0.01, 0.9))
def test_holdout_divides_with_records_on_either_side(numbers, share):
    part = np.array(sorted(numbers))
    train, held = holdout(part, share, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), part)
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    assert len(held) == np.clip(round(share * len(part)), 1, len(part) - 1)


def test_holdout_is_random_and_seeded():
    part = np.arange(10_000)
    _, held = holdout(part, 0.5, np.random.default_rng(0))
    _, again = holdout(part, 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(held, again)
    assert held.mean() == pytest.approx(part.mean(), rel=0.02)


def test_holdout_refuses_what_leaves_a_side_empty():
    rng = np.random.default_rng(0)
    with pytest.raises(Refused, match="with 1 records cannot hold any out"):
        holdout(np.array([3]), 0.5, rng)
    for share in (0, 1):
        with pytest.raises(Refused, match="hold out must be a number above 0"):
            holdout(np.arange(10), share, rng)


def test_label_counts_are_rows_of_clients():
    labels = np.array([0, 2, 2, 0, 3])
    counts = label_counts(labels, parts([0, 1, 2], [3, 4]), 5)
    np.testing.assert_array_equal(counts, [[1, 0, 2, 0, 0], [1, 0, 0, 1, 0]])
