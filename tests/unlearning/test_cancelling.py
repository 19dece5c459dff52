"""A request that is taken back is one that was never made."""

import pytest
from hydra import compose, initialize_config_dir

from fedunlearn.checks import Refused
from fedunlearn.simulations import guard, withdrawals
from fedunlearn.unlearning import Cancel, Request, without_cancelled

FIRST = Request(frozenset({3}), 8)
SECOND = Request(frozenset({1, 4}), 12, arrived=((1, 10.5), (4, 11.0)))
AGAIN = Request(frozenset({3}), 14)


def test_a_client_takes_back_its_next_request_alone():
    asked = (FIRST, SECOND, AGAIN)
    assert without_cancelled(asked, []) == asked
    assert without_cancelled(asked, [Cancel(frozenset({3}), 7)]) == (SECOND, AGAIN)
    assert without_cancelled(asked, [Cancel(frozenset({3}), 8)]) == (FIRST, SECOND)
    both = [Cancel(frozenset({3}), 0), Cancel(frozenset({3}), 0)]
    assert without_cancelled(asked, both) == (SECOND,)


def test_the_next_is_that_of_the_earliest_round_however_they_are_listed():
    assert without_cancelled((AGAIN, FIRST), [Cancel(frozenset({3}), 0)]) == (AGAIN,)


def test_others_who_ask_at_once_are_served():
    left = Request(frozenset({4}), 12, arrived=((4, 11.0),))
    assert without_cancelled((SECOND,), [Cancel(frozenset({1}), 11)]) == (left,)
    assert without_cancelled((SECOND,), [Cancel(frozenset({1, 4}), 11)]) == ()


def test_a_request_that_names_nobody_stays():
    nobody = Request(frozenset(), 5)
    assert without_cancelled((nobody, FIRST), [Cancel(frozenset({3}), 1)]) == (nobody,)


@pytest.mark.parametrize("cancel", [Cancel(frozenset({3}), 14), Cancel(frozenset({2}), 0)])
def test_what_was_served_or_never_asked_cannot_be_taken_back(cancel):
    (client,) = cancel.clients
    said = f"Client {client} takes back a request after round {cancel.after}, but has none"
    with pytest.raises(Refused, match=said):
        without_cancelled((FIRST, AGAIN), [cancel])


def read(timeline):
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", [f"withdrawal.timeline={timeline}"])
    return withdrawals.Reader(5, 24).read(cfg.withdrawal)


def test_a_timeline_with_a_cancel_is_one_without_what_it_takes_back():
    asked = "{after: 8, clients: [3]}, {after: 12, clients: [1, 4]}"
    assert read(f"[{asked}, {{after: 10, cancel: [4]}}]") == read(
        "[{after: 8, clients: [3]}, {after: 12, clients: [1]}]"
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{after: 8, cancel: [3]}", "Client 3 takes back a request after round 8"),
        ("{after: -1, cancel: [3]}", "after of a cancel must be a whole number"),
        ("{after: 7, cancel: [3], scope: planted}", "Each entry of withdrawal.timeline is"),
        ("{after: 7, cancel: [3, 3]}", "withdrawal.timeline: cancel names a client twice"),
    ],
)
def test_cancels_that_cannot_be(entry, said):
    with pytest.raises(Refused, match=said):
        read(f"[{{after: 8, clients: [3]}}, {entry}]")
