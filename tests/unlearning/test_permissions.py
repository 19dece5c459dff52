import pytest

from fedunlearn.history import Needs
from fedunlearn.unlearning import Access

ALL = Access(frozenset(range(4)), Needs(remaining=True, leaver=True), frozenset({7, 8}), stream=3)


def test_each_is_asked_once_in_order_and_strangers_are_refused():
    assert ALL.chosen([3, 1, 1]) == (1, 3)
    with pytest.raises(PermissionError, match=r"\[4, 7\]"):
        ALL.chosen([7, 1, 4])


def test_what_was_not_declared_is_refused():
    nothing = Access(frozenset({1}), Needs())
    for ask, name in ((nothing.require_remaining, "remaining"), (nothing.require_proxy, "proxy")):
        with pytest.raises(PermissionError, match=f"{name}=True"):
            ask()
    with pytest.raises(PermissionError, match="leaver=True"):
        nothing.leavers  # noqa: B018


def test_leavers_are_asked_for_ordinary_work_in_the_same_stream_and_are_not_recorded():
    recording = Access(ALL.ids, ALL.declared, ALL.gone, 3, record=lambda done, after: None)
    leavers = recording.leavers
    assert leavers == Access(frozenset({7, 8}), stream=3)
    leavers.require_remaining()


def test_who_left_is_no_longer_among_those_who_may_be_asked():
    assert ALL.without({1, 2, 99}).ids == {0, 3}
    assert ALL.without(()) == ALL
