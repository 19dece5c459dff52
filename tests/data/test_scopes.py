"""Which records a scope chooses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data import Everything, PlantedRecords, RandomShare, Records, WithLabels


def records(labels):
    return Records(torch.arange(float(len(labels)))[:, None], torch.tensor(labels))


def chosen(scope, labels, planted=None, seed=0):
    planted = np.zeros(len(labels), bool) if planted is None else np.array(planted)
    return scope.chosen(records(labels), planted, np.random.default_rng(seed)).tolist()


def test_each_scope_chooses_what_it_says():
    labels, planted = [3, 1, 3, 2], [True, False, False, True]
    assert chosen(Everything(), labels) == [True] * 4
    assert chosen(WithLabels((3, 2)), labels) == [True, False, True, True]
    assert chosen(WithLabels((7,)), labels) == [False] * 4
    assert chosen(PlantedRecords(), labels, planted) == planted
    assert sum(chosen(RandomShare(0.5), labels)) == 2


@given(st.integers(1, 60), st.floats(0, 1, allow_nan=False), st.floats(0, 1), st.integers(0, 2**20))
def test_a_share_has_its_size_and_a_larger_one_includes_it(n, share, other, seed):
    low, high = sorted((share, other))
    small, large = (np.array(chosen(RandomShare(s), [0] * n, seed=seed)) for s in (low, high))
    assert small.sum() == round(low * n)
    assert (small <= large).all()


def test_what_is_held_out_matches_what_goes():
    held = records([0, 1, 2, 1])
    assert WithLabels((1,)).like(held).tolist() == [False, True, False, True]
    for scope in (Everything(), RandomShare(0.1), PlantedRecords()):
        assert scope.like(held).all()


def test_scopes_have_words():
    scopes = (Everything(), RandomShare(0.25), WithLabels((7, 1)), PlantedRecords())
    assert [scope.words for scope in scopes] == [
        "everything",
        "share=0.25",
        "labels=7+1",
        "planted",
    ]
    assert len({*scopes, RandomShare(0.25), WithLabels((7, 1))}) == 4  # hashable, equal by value


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: RandomShare(1.5), r"RandomShare\.share must be a number at least 0 and at most 1"),
        (lambda: RandomShare(float("nan")), r"RandomShare\.share"),
        (lambda: WithLabels((-1,)), r"labels\[0\] must be a whole number"),
        (lambda: WithLabels(()), "one or more classes, each once"),
        (lambda: WithLabels((1, 1)), "one or more classes, each once"),
    ],
)
def test_what_is_no_scope_is_refused(made, sentence):
    with pytest.raises(Refused, match=sentence):
        made()
