"""Every request is served once, in order, when its policy says."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data import Everything, RandomShare
from fedunlearn.unlearning import (
    Arrival,
    Batch,
    ByDeadline,
    EveryRounds,
    Immediate,
    InBatches,
    Request,
    batched,
)

TIMES = (0.4, 1.0, 1.2, 3.0, 3.5, 3.6, 9.9)
ROUNDS = 12


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Immediate(), [(1, 2), (2, 1), (3, 1), (4, 2), (10, 1)]),
        (EveryRounds(1), [(1, 2), (2, 1), (3, 1), (4, 2), (10, 1)]),
        (EveryRounds(4), [(4, 6), (12, 1)]),
        (EveryRounds(5), [(5, 6), (10, 1)]),
        (EveryRounds(100), [(12, 7)]),
        (InBatches(1), [(1, 1), (1, 1), (2, 1), (3, 1), (4, 1), (4, 1), (10, 1)]),
        (InBatches(3), [(2, 3), (4, 3), (12, 1)]),
        (InBatches(7), [(10, 7)]),
        (InBatches(8), [(12, 7)]),
        (ByDeadline(1), [(1, 2), (2, 1), (4, 3), (10, 1)]),
        (ByDeadline(2), [(2, 3), (5, 3), (11, 1)]),
        (ByDeadline(2.5), [(2, 3), (5, 3), (12, 1)]),
        (ByDeadline(9), [(9, 6), (12, 1)]),
    ],
)
def test_policies_by_table(policy, expected):
    assert list(policy.batches(TIMES, ROUNDS)) == expected


policies = st.one_of(
    st.just(Immediate()),
    st.integers(1, 30).map(EveryRounds),
    st.integers(1, 30).map(InBatches),
    st.floats(1, 30).map(ByDeadline),
)
at = st.floats(0, 20, exclude_min=True) | st.integers(1, 20).map(float)
streams = st.lists(at, max_size=40).map(
    lambda times: [Arrival(client, at) for client, at in enumerate(sorted(times))]
)


@given(streams, policies, st.integers(0, 8))
def test_every_request_is_served_once_in_order_and_not_before_it_comes(arrivals, policy, busy):
    requests = batched(arrivals, policy, Everything(), 20, busy)
    served = [(client, request.after) for request in requests for client in sorted(request.clients)]
    assert [client for client, _ in served] == [one.client for one in arrivals]
    assert all(one.at <= after <= 20 for one, (_, after) in zip(arrivals, served, strict=True))
    assert [after for _, after in served] == sorted(after for _, after in served)
    when = {one.client: one.at for one in arrivals}
    assert all(request.asked(c) == when[c] for request in requests for c in request.clients)


@given(streams, st.floats(1, 20))
def test_nobody_waits_beyond_a_deadline(arrivals, limit):
    requests = batched(arrivals, ByDeadline(limit), Everything(), 20)
    waits = [r.after - at for r in requests for _, at in r.arrived]
    assert all(wait <= limit * (1 + 1e-12) for wait in waits)
    # As late as that: one round more, and whoever waited longest would wait too long.
    longest = [r.after + 1 - min(at for _, at in r.arrived) for r in requests if r.after < 20]
    assert all(wait > limit * (1 - 1e-12) for wait in longest)


@given(streams, st.integers(1, 10))
def test_batches_have_their_size_but_for_the_last(arrivals, size):
    sizes = [len(r.clients) for r in batched(arrivals, InBatches(size), Everything(), 20)]
    assert all(each == size for each in sizes[:-1])
    assert not sizes or 1 <= sizes[-1] <= size


@given(streams, st.integers(1, 10))
def test_every_so_many_rounds_is_at_their_multiples_or_the_end(arrivals, every):
    requests = batched(arrivals, EveryRounds(every), Everything(), 20)
    assert all(r.after % every == 0 or r.after == 20 for r in requests)
    assert len({r.after for r in requests}) == len(requests)


@given(streams, policies, st.integers(1, 8))
def test_a_busy_server_begins_nothing_before_it_is_done(arrivals, policy, busy):
    afters = [r.after for r in batched(arrivals, policy, Everything(), 20, busy)]
    gaps = [later - before for before, later in pairwise(afters)]
    assert all(gap >= busy for gap in gaps[:-1])
    assert all(gap >= busy or afters[-1] == 20 for gap in gaps)
    assert all(gap > 0 for gap in gaps)


@given(streams, policies)
def test_a_server_that_is_never_busy_follows_its_policy(arrivals, policy):
    batches = policy.batches([one.at for one in arrivals], 20)
    requests = batched(arrivals, policy, Everything(), 20, busy=0)
    assert [(r.after, len(r.clients)) for r in requests] == list(batches)


def test_whoever_comes_while_a_batch_is_at_work_is_served_with_the_others_then():
    arrivals = [Arrival(client, at) for client, at in enumerate(TIMES)]
    requests = batched(arrivals, Immediate(), Everything(), ROUNDS, busy=3)
    assert [(r.after, sorted(r.clients)) for r in requests] == [
        (1, [0, 1]),
        (4, [2, 3, 4, 5]),
        (10, [6]),
    ]


def test_a_batch_is_a_request_for_each_scope():
    share = RandomShare(0.5)
    arrivals = [Arrival(0, 0.5), Arrival(1, 0.6, share), Arrival(2, 0.7)]
    assert batched(arrivals, Immediate(), Everything(), 4) == (
        Request(frozenset({0, 2}), 1, Everything(), ((0, 0.5), (2, 0.7))),
        Request(frozenset({1}), 1, share, ((1, 0.6),)),
    )


def test_who_asks_as_it_is_served_asked_then():
    assert Request(frozenset({3}), 7).asked(3) == 7.0


@dataclass(frozen=True)
class Given:
    listed: tuple

    def batches(self, times, rounds):
        return [Batch(*each) for each in self.listed]


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ([], "Given serves 0 requests of 2"),
        ([(2, 1)], "Given serves 1 requests of 2"),
        ([(2, 3)], "Given serves 3 requests of 2"),
        ([(2, 3), (3, -1)], "each request once"),
        ([(3, 1), (2, 1)], r"serves after rounds \[3, 2\], which must ascend"),
        ([(2, 1), (9, 1)], "must ascend and end by round 4"),
        ([(1, 2)], "serves after round 1 what comes at 1.5 only"),
    ],
)
def test_a_policy_of_one_s_own_is_checked(listed, sentence):
    arrivals = [Arrival(0, 0.5), Arrival(1, 1.5)]
    with pytest.raises(Refused, match=sentence):
        batched(arrivals, Given(tuple(listed)), Everything(), 4)


@pytest.mark.parametrize(
    "made",
    [
        lambda: EveryRounds(0),
        lambda: InBatches(0),
        lambda: ByDeadline(0.5),
        lambda: ByDeadline(math.inf),
    ],
)
def test_fields_are_held_to_their_ranges(made):
    with pytest.raises(Refused, match="must be"):
        made()
