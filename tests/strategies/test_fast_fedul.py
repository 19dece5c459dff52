"""Fast-FedUL against its recursion, written again, and against what its public code gets wrong."""

import math
from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import History, Largest, Needs, Round, Updates
from fedunlearn.models import Layout
from fedunlearn.unlearning import NoRecovery as NoRecovery
from fedunlearn.unlearning import Plain, Request, Training, forget, train
from strategies.fast_fedul import FastFedUL
from strategies.subtraction import Subtraction
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import WORK, Scaled, World, finish

PARTIAL = World(training=Training(rounds=8, cohort=0.5, work=WORK))
REQUEST = Request(frozenset({1}), 8)
D = 6


def by_hand(history, leavers, alpha, theta):
    """The recursion, client by client."""
    removed = torch.zeros(D, dtype=torch.float64)
    for kept in history:
        sizes = dict(zip(kept.clients, kept.updates.examples.tolist(), strict=True))
        whole = sum(sizes.values())
        decay = 1 - alpha * sum(n / whole for c, n in sizes.items() if c not in leavers)
        removed = decay * removed
        for row, client in enumerate(kept.clients):
            if client in leavers:
                removed -= sizes[client] / whole * kept.updates.deltas[row].double()
    return (history.final.double() + theta * removed).float()


def unlearned(history, leavers, **values):
    (weights,) = FastFedUL(**values).unlearn(Request(frozenset(leavers), 8), history, None)
    return weights


@pytest.mark.parametrize("world", [World(), PARTIAL], ids=["full", "partial"])
@pytest.mark.parametrize("leavers", [[1], [0, 3], [2, 1, 0]])
@pytest.mark.parametrize(("alpha", "theta"), [(0.07, 1.0), (0.5, 0.8), (0.9, 1.0)])
def test_follows_its_recursion(world, leavers, alpha, theta):
    models, history = curve(FastFedUL(alpha, theta), leavers, world)
    assert len(models) == 1
    expected = by_hand(history, leavers, alpha, theta)
    torch.testing.assert_close(models[0], expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(models[0], history.final, atol=1e-3)


@pytest.mark.parametrize("world", [World(), PARTIAL], ids=["full", "partial"])
@pytest.mark.parametrize("alpha", [0.07, 0.2, 0.5])
def test_it_takes_out_what_a_decay_with_each_later_round_leaves(world, alpha):
    """w_T - sum_t (prod_{s > t} b_s) sum_u p_u D_u^t: the recursion solved, without a recursion."""
    leavers = {0, 3}
    (model,), history = curve(FastFedUL(alpha), sorted(leavers), world)
    shares, decays = [], []
    for kept in history:
        records = kept.updates.examples.double() / kept.updates.examples.sum()
        leaving = torch.tensor([client in leavers for client in kept.clients])
        shares.append((records * leaving) @ kept.updates.deltas.double())
        decays.append(1 - alpha * float(records[~leaving].sum()))
    expected = history.final.double()
    for place, share in enumerate(shares):
        expected = expected - math.prod(decays[place + 1 :]) * share
    torch.testing.assert_close(model, expected.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("world", [World(), PARTIAL], ids=["full", "partial"])
@pytest.mark.parametrize("leavers", [[2], [0, 3]])
def test_without_decay_it_is_subtraction_without_distillation(world, leavers):
    models, _ = curve(FastFedUL(alpha=0), leavers, world)
    subtracted, _ = curve(Subtraction(rounds=0), leavers, world)
    torch.testing.assert_close(models[-1], subtracted[-1])


def test_nobody_leaves_and_nothing_changes():
    models, history = curve(FastFedUL(), [])
    assert torch.equal(models[-1], history.final)


def test_a_leaver_who_never_took_part_changes_nothing():
    world = PARTIAL
    with world.open() as clients:
        course = replace(world.start, present=frozenset({0, 1, 2}))
        course = finish(train(course, clients, 8, Needs(updates=True)))
    models, history = curve(FastFedUL(), [3], world, course)
    assert torch.equal(models[-1], history.final)


def a_history(*cohorts, layout=None):
    """Rounds of given clients with 10 records each, all of whose updates are ones."""
    history = History(layout or World().here.network.layout, torch.zeros(D), torch.full((D,), 5.0))
    for number, clients in enumerate(cohorts, start=1):
        sent = Updates(clients, torch.ones(len(clients), D), torch.tensor([10] * len(clients)))
        done = Round(number, sent, 10 * len(clients))
        history = history.then(done, history.final, Needs(updates=True))
    return history


class TestPublicCode:
    def test_any_client_counts_not_only_the_first_ten(self):
        found = unlearned(a_history((0, 42), (0, 7)), [42], alpha=0.5)
        torch.testing.assert_close(found, torch.full((D,), 5 - 0.5 * 0.5))

    def test_a_leaver_of_early_rounds_is_removed_as_well(self):
        """There, nothing was removed of those who missed the last five rounds."""
        found = unlearned(a_history((0, 1), *[(0, 2)] * 9), [1], alpha=0.1)
        torch.testing.assert_close(found, torch.full((D,), 5 - 0.5 * 0.9**9))

    def test_weights_are_those_of_the_cohort(self):
        """There, of all clients: here 4, of whom 2 take part."""
        found = unlearned(a_history((0, 1)), [1])
        torch.testing.assert_close(found, torch.full((D,), 4.5))

    def test_a_round_of_leavers_only_lets_nothing_fade(self):
        found = unlearned(a_history((0, 1), (1, 2)), [1, 2], alpha=0.5)
        torch.testing.assert_close(found, torch.full((D,), 5 - 0.5 - 1.0))


def test_buffers_are_left_alone():
    layout = Layout.of(Scaled())
    initial = torch.zeros(layout.size)
    sent = Updates((0, 1), torch.ones(2, layout.size), torch.tensor([10, 10]))
    history = History(layout, initial, initial)
    history = history.then(Round(1, sent, 20), torch.ones(layout.size), Needs(updates=True))
    found = unlearned(history, [1])
    inside = layout.parameters
    assert inside.stop < layout.size
    assert torch.equal(found[inside.stop :], torch.ones(64))
    assert torch.equal(found[inside], torch.full((inside.stop,), 0.5))
    assert torch.equal(history.final, torch.ones(layout.size))


def test_what_the_largest_updates_do_not_hold_stays():
    world = World()
    largest = replace(world.start, history=replace(world.start.history, policy=Largest(0.5)))
    with world.open() as clients:
        course = finish(train(largest, clients, 6, Needs(updates=True)))
    models, history = curve(FastFedUL(), [3], world, course)
    sizes = [len(records) for records in world.here.train]
    removed = torch.zeros(D)
    for kept in history:
        assert len(kept.clients) == 2
        there = (3 in kept.clients) * sizes[3] / sum(sizes)
        removed = (1 - 0.07 * (1 - there)) * removed
        removed -= there * kept.updates.only({3}).deltas.sum(dim=0)
    assert float(removed.norm()) > 0
    torch.testing.assert_close(models[-1], history.final + removed, rtol=1e-4, atol=1e-5)


def test_two_requests_in_sequence():
    world, strategy = PARTIAL, FastFedUL(alpha=0.2)
    with world.open() as clients:
        course = world.trained(clients, strategy.needs)
        needs = strategy.needs
        one = finish(forget(course, frozenset({1}), strategy, Plain(2), clients, needs))
        one = finish(train(one, clients, 12, needs))
        again = finish(forget(one, frozenset({3}), strategy, NoRecovery(), clients, needs))
    removed = torch.zeros(D)
    for kept in one.history:  # weights are those of the day, also where client 1 was among them
        updates = kept.updates.only({3})
        share = float(updates.examples.sum()) / kept.cohort_examples
        removed = (1 - 0.2 * (1 - share)) * removed - share * updates.deltas.sum(dim=0)
    expected = one.history.final + removed
    torch.testing.assert_close(again.history.final, expected, rtol=1e-4, atol=1e-5)


def test_costs_nothing_and_says_how_long_it_takes():
    assert asked_of_clients(FastFedUL()) == 0
    assert FastFedUL().length(REQUEST) == 1


def test_values_outside_their_range_are_refused():
    for wrong in ({"alpha": -0.1}, {"alpha": 1.1}, {"theta": 0}):
        with pytest.raises(Refused, match=rf"FastFedUL.{next(iter(wrong))} must be"):
            FastFedUL(**wrong)
