"""Who holds which records when, against a plain simulation of it."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data import (
    Change,
    Everything,
    Held,
    Holdings,
    PlantedRecords,
    RandomShare,
    Records,
    Shards,
    WithLabels,
)

SIZES = (6, 5, 7)


def train(sizes=SIZES):
    parts, first = [], 0
    for size in sizes:
        numbers = torch.arange(first, first + size)
        parts.append(Records(numbers[:, None].float(), numbers % 3))
        first += size
    return Shards.of(parts)


def holdings(*changes, sizes=SIZES, planted=None):
    marks = [torch.zeros(size, dtype=torch.bool) for size in sizes]
    for client, rows in (planted or {}).items():
        marks[client][rows] = True
    return Holdings.of(
        changes, train(sizes), marks, lambda client, order: np.random.default_rng([client, order])
    )


def held(made, client, round, served=0, asked=0):
    """What a client sees, as numbers of its own records."""
    shown = made.shards(train(), Held(round, served, asked))
    return (shown[client].inputs.flatten().long() - sum(SIZES[:client])).tolist()


def test_who_changes_nothing_is_held_whole_and_shared():
    shards, made = train(), holdings()
    assert made.shards(shards, Held(3)) is shards
    assert made.since(0) == {0: 1, 1: 1, 2: 1}


def test_a_whole_client_leaves_and_is_copied_nowhere():
    made, shards = holdings(Change(4, (1,))), train()
    assert made.since(0) == {0: 1, 1: 1, 2: 1}
    assert made.since(1) == {0: 1, 2: 1}
    assert made.asking(1) == {1}
    assert made.shards(shards, Held(4, 1)) is shards
    assert held(made, 1, 4, asked=1) == [*range(5)]


def test_an_erased_share_is_in_no_round_and_the_rest_in_every():
    made = holdings(Change(4, (0,), scope=RandomShare(0.5)))
    gone = held(made, 0, 4, served=1, asked=1)
    assert len(gone) == 3
    for number in (1, 4, 9):
        assert held(made, 0, number) == [*range(6)]
        assert sorted([*held(made, 0, number, served=1), *gone]) == [*range(6)]
    assert made.since(1) == {0: 1, 1: 1, 2: 1}


def test_a_share_of_one_is_leaving_and_one_of_zero_is_nothing():
    everything = holdings(Change(4, (0,), scope=RandomShare(1.0)))
    assert everything.since(1) == holdings(Change(4, (0,))).since(1)
    assert everything.asking(1) == {0}
    nothing = holdings(Change(4, (0,), scope=RandomShare(0.0)))
    assert (nothing.asking(1), nothing.since(1)) == (frozenset(), holdings().since(0))


def test_labels_and_planted_records():
    made = holdings(Change(4, (0, 1, 2), scope=WithLabels((1,))))
    for client in range(3):
        first = sum(SIZES[:client])
        assert {(first + row) % 3 for row in held(made, client, 2, served=1)} == {0, 2}
    made = holdings(Change(4, (0, 1), scope=PlantedRecords()), planted={0: [1, 4]})
    assert (made.asking(1), held(made, 0, 4, 1)) == ({0}, [0, 2, 3, 5])


def test_who_joins_is_absent_until_then():
    made = holdings(Change(4, (2,), "join"))
    assert made.since(0) == {0: 1, 1: 1, 2: 5}
    assert held(made, 2, 5) == [*range(7)]


def test_who_returns_is_replayed_from_the_return_only():
    made = holdings(Change(3, (0,)), Change(6, (0,), "join"), Change(9, (1,)))
    assert [made.since(n)[0] for n in (0, 1, 2)] == [1, 7, 7]
    assert made.since(2) == {0: 7, 2: 1}
    again = holdings(Change(3, (0,)), Change(6, (0,), "join"), Change(9, (0,)))
    assert again.since(2) == {1: 1, 2: 1}


def test_others_are_records_that_were_never_held():
    half = RandomShare(0.5)
    made = holdings(
        Change(0, (0,), "join", half), Change(3, (0,)), Change(6, (0,), "join with others")
    )
    first, second = held(made, 0, 3), held(made, 0, 7, served=1)
    assert sorted(first + second) == [*range(6)]
    assert set(first).isdisjoint(second)
    assert made.since(1)[0] == 7


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([Change(3, (0,)), Change(5, (0,))], "Client 0 asks after round 5, but holds no records"),
        (
            [Change(3, (0,), scope=RandomShare(1.0)), Change(5, (0,), scope=WithLabels((1,)))],
            "Client 0 asks after round 5, but holds no records",
        ),
        ([Change(2, (1,), "join"), Change(4, (1,), "join")], "holds all of its records then"),
        ([Change(3, (0,)), Change(4, (0,), "join with others")], "it has held all that it has"),
        ([Change(2, (0, 1, 2), "join")], "Nobody takes part in round 1"),
        (
            [Change(3, (0, 1, 2), scope=RandomShare(1.0))],
            "After round 3 nobody would remain",
        ),
        ([Change(3, (0, 1)), Change(5, (2,))], "After round 5 nobody would remain"),
        (
            [Change(2, (0, 1)), Change(3, (2,)), Change(4, (0,), "join")],
            "After round 3 nobody would remain",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes, sentence):
    with pytest.raises(Refused, match=sentence):
        holdings(*changes)


SCOPES = st.sampled_from(
    [Everything(), RandomShare(0.3), RandomShare(0.7), WithLabels((0,)), WithLabels((1, 2))]
)
CHANGES = st.lists(
    st.tuples(
        st.integers(1, 8),
        st.sets(st.integers(0, 2), min_size=1, max_size=2),
        st.sampled_from(["erase", "erase", "join", "join with others"]),
        SCOPES,
    ),
    max_size=5,
)


@given(CHANGES)
def test_holdings_follow_a_plain_simulation(drawn):
    """Record by record: brought, erased, and seen of a round once n requests were served."""
    ordered = sorted(drawn, key=lambda each: (each[0], each[2] != "erase"))
    changes = [
        Change(after, tuple(sorted(who)), kind, scope) for after, who, kind, scope in ordered
    ]
    try:
        made = holdings(*changes)
    except Refused:
        return
    erasures = sum(change.kind == "erase" for change in changes)
    for served, client in product(range(erasures + 1), range(3)):
        since = simulated(made, changes, client, served)
        for number in range(1, 11):
            expected = sorted(row for row, first in since.items() if first <= number)
            if client in made.touched:
                mask = made.touched[client].held(number, served)
                assert np.flatnonzero(mask).tolist() == expected
            else:
                assert [*range(SIZES[client])] == expected


def simulated(made, changes, client, served):
    """Return from which round on a client holds each record that it has not lost for good."""
    kinds = [change.kind for change in changes if client in change.clients]
    there = not kinds or kinds[0] == "erase"
    stays = {row: {1} if there else set() for row in range(SIZES[client])}
    number = 0
    for place, change in enumerate(changes):
        number += change.kind == "erase"
        if client not in change.clients:
            continue
        if change.kind == "erase" and number <= served and client in made.asking(number):
            for row in np.flatnonzero(made.erased(number)[client]):
                stays[int(row)] = set()
        elif change.kind != "erase":
            (stay,) = (s for s in made.touched[client].stays if s.place == place)
            for row in np.flatnonzero(stay.brought):
                stays[int(row)].add(change.after + 1)
    return {row: min(first) for row, first in stays.items() if first}


@given(CHANGES)
def test_who_is_not_named_is_never_touched(drawn):
    ordered = sorted(drawn, key=lambda each: (each[0], each[2] != "erase"))
    changes = [Change(after, (0,), kind, scope) for after, _, kind, scope in ordered]
    try:
        made = holdings(*changes)
    except Refused:
        return
    for number in range(len(changes) + 1):
        assert {1: 1, 2: 1}.items() <= made.since(number).items()
        assert held(made, 1, 4, number) == [*range(5)]
