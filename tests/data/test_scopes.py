"""Which records a scope chooses."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data import (
    Everything,
    Hardest,
    PlantedRecords,
    RandomShare,
    Records,
    WithLabels,
    fingerprints,
)


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


@pytest.fixture
def scored(tmp_path):
    """Write a table that scores records of ``labels``; extra columns by name."""

    def write(labels, scores, **columns):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
        names = fingerprints(records(labels))
        pd.DataFrame({"fingerprint": names, "memorization": scores, **columns}).to_csv(path)
        return str(path)

    return write


def test_the_hardest_share_goes(scored):
    labels, scores = [3, 1, 3, 2, 0], [0.1, 0.9, np.nan, 0.5, 0.9]
    table = scored(labels, scores, curvature=[5, 4, 3, 2, 1])
    assert chosen(Hardest(table, share=0.2), labels) == [False, True, False, False, False]
    assert chosen(Hardest(table, share=0.6), labels) == [False, True, False, True, True]
    assert chosen(Hardest(table, share=1), labels) == [True] * 5
    easiest = Hardest(table, share=0.8, first="lowest")
    assert chosen(easiest, labels) == [True, True, False, True, True]  # no score: last either way
    by = Hardest(table, by="curvature", share=0.4)
    assert chosen(by, labels) == [True, True, False, False, False]
    assert by.words == "highest curvature=0.4"
    assert Hardest(table).like(records(labels)).all()
    assert len({Hardest(table), Hardest(table), by}) == 2


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_ranks_decide_and_a_larger_share_includes_a_smaller(tmp_path_factory, scores, one, other):
    labels = list(range(len(scores)))
    path = tmp_path_factory.mktemp("scores") / "table.csv"
    pd.DataFrame({"fingerprint": fingerprints(records(labels)), "memorization": scores}).to_csv(
        path
    )
    small, large = (
        np.array(chosen(Hardest(str(path), share=share), labels)) for share in sorted((one, other))
    )
    assert small.sum() == round(min(one, other) * len(scores))
    assert (small <= large).all()
    worst = np.array(scores)[small].min(initial=4)
    assert (np.array(scores)[~small] <= worst).all()


def test_a_fingerprint_is_of_one_record_wherever_it_lies():
    """Input, label and their bytes count, and nothing else."""
    held = records([1, 1, 2])
    names = fingerprints(held)
    assert len(set(names)) == 3
    assert {len(name) for name in names} == {16}
    assert fingerprints(held.take(torch.tensor([2, 0]))) == [names[2], names[0]]
    relabelled = Records(held.inputs, torch.tensor([1, 1, 3]))
    assert [a == b for a, b in zip(fingerprints(relabelled), names, strict=True)] == [1, 1, 0]
    columns = Records(torch.arange(6.0).reshape(2, 3).T, torch.tensor([0, 0, 0]))
    rows = Records(columns.inputs.contiguous(), columns.labels)
    assert fingerprints(columns) == fingerprints(rows)


def test_a_table_that_cannot_serve_is_refused(scored, tmp_path):
    table = scored([1, 2], [0.1, 0.2], word=["a", "b"])
    with pytest.raises(Refused, match="does not know 1 of 3 records of a client who asks"):
        chosen(Hardest(table), [1, 2, 9])
    with pytest.raises(Refused, match="cannot be read as a table: No such file"):
        Hardest(str(tmp_path / "none.csv"))
    with pytest.raises(Refused, match="has no column memorisation; did you mean memorization"):
        Hardest(table, by="memorisation")
    with pytest.raises(Refused, match=r"the column word of .* holds no numbers"):
        Hardest(table, by="word")
    with pytest.raises(Refused, match=r"Hardest\.share must be a number"):
        Hardest(table, share=2)
    with pytest.raises(Refused, match=r"Hardest\.first=top does not exist"):
        Hardest(table, first="top")
    bare = tmp_path / "bare.csv"
    bare.write_text("memorization\n1\n")
    with pytest.raises(Refused, match="has no column fingerprint"):
        Hardest(str(bare))
