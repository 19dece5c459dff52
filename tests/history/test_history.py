import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import History, InMemory, Needs, Round, Updates
from fedunlearn.models import Cnn, Layout, Network

D = 4


def done(number, clients=(0, 1)):
    deltas = torch.arange(len(clients) * D, dtype=torch.float32).view(-1, D) + number
    examples = torch.tensor([10 * (c + 1) for c in clients])
    return Round(number, Updates(clients, deltas, examples), int(examples.sum()), torch.ones(D))


def recorded(needs, rounds=9):
    history = History(Layout(()), torch.zeros(D), torch.zeros(D))
    for number in range(1, rounds + 1):
        history = history.then(done(number), torch.full((D,), float(number)), needs)
    return history


@pytest.mark.parametrize(
    ("every", "numbers"), [(1, [*range(1, 10)]), (2, [1, 3, 5, 7, 9]), (4, [1, 5, 9]), (20, [1])]
)
def test_keeps_the_first_round_of_each_interval(every, numbers):
    history = recorded(Needs(updates=True, every=every))
    assert [kept.number for kept in history] == numbers
    assert torch.equal(history.final, torch.full((D,), 9.0))


@pytest.mark.parametrize(("after", "every"), [(9, 1), (9, 2), (8, 2), (9, 4), (9, 3)])
def test_a_strategy_sees_one_round_for_each_complete_interval(after, every):
    needs = Needs(updates=True, every=every)
    shown = recorded(Needs(updates=True), rounds=after).select(needs, after)
    assert [kept.number for kept in shown] == [1 + j * every for j in range(after // every)]


def test_a_strategy_sees_a_recovery_that_went_on_beyond_the_next_request():
    history = recorded(Needs(updates=True), rounds=6)  # of which 5 and 6 are the recovery's
    shown = history.select(Needs(updates=True, every=2), 4)
    assert [kept.number for kept in shown] == [1, 3, 5]


def test_bytes_are_those_of_what_is_kept():
    assert recorded(Needs()).nbytes == 4 * D
    assert recorded(Needs(updates=True)).nbytes == 4 * D * (1 + 9 * 2)
    assert recorded(Needs(updates=True, every=2)).nbytes == 4 * D * (1 + 5 * 2)
    assert recorded(Needs(models=True, every=2)).nbytes == 4 * D * (1 + 5)
    both = recorded(Needs(updates=True, models=True))
    assert both.nbytes == 4 * D * (1 + 9 * 3)
    assert both.select(Needs(updates=True, every=3), 9).nbytes == 4 * D * (1 + 3 * 2)


def test_a_broadcast_that_was_not_kept_is_not_made_up():
    kept = recorded(Needs(updates=True))[2]
    with pytest.raises(LookupError, match="Round 3 keeps no broadcast model"):
        kept.before  # noqa: B018
    assert recorded(Needs(models=True))[2].before.sum() == D


def test_shares_add_up_to_the_step_and_survive_a_departure():
    kept = done(1, clients=(0, 1, 2))
    step = kept.share({0, 1, 2})
    parts = [kept.share({client}) for client in (0, 1, 2)]
    torch.testing.assert_close(sum(parts), step)
    assert torch.equal(kept.without({0}).share({1}), kept.share({1}))
    assert kept.only({1, 2, 9}).clients == kept.without({0}).clients == (1, 2)
    assert torch.equal(kept.only({1}).share({1, 2}), kept.share({1}))
    assert torch.equal(kept.share({9}), torch.zeros(D))


def test_the_union_of_needs_serves_all():
    union = Needs.union([Needs(updates=True, every=4), Needs(updates=True, every=6), Needs()])
    assert union == Needs(updates=True, every=2)
    assert Needs.union([Needs(), Needs(proxy=True)]) == Needs(proxy=True)
    assert Needs.union([]) == Needs()
    for number in range(1, 40):
        assert union.includes(number) or not Needs(updates=True, every=4).includes(number)


def test_a_strategy_that_needs_what_is_not_kept_is_refused():
    InMemory().check("federaser", Needs(updates=True))
    InMemory(updates=False).check("retrain", Needs())
    with pytest.raises(Refused, match=r"strategy=federaser needs stored updates"):
        InMemory(updates=False).check("federaser", Needs(updates=True))
    with pytest.raises(Refused, match=r"needs stored models"):
        InMemory(models=False).check("sifu", Needs(models=True))


def test_needs_count_rounds():
    with pytest.raises(Refused, match="whole number of at least 1, not 0"):
        Needs(every=0)


def test_the_layout_travels_with_the_history():
    layout = Network(Cnn(), (1, 8, 8), 10).layout
    history = History(layout, torch.zeros(layout.size), torch.zeros(layout.size))
    assert history.then(done(1), history.final, Needs()).layout is layout
