"""Crab against its equations, written again, and against FedEraser, which it contains."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import (
    Drift,
    History,
    Largest,
    Needs,
    Round,
    Updates,
    selected_rounds,
    selected_updates,
)
from fedunlearn.models import lengths, mean
from fedunlearn.unlearning import Ledger, Plain, Request, Training, forget, train
from fedunlearn.unlearning import NoRecovery as NoRecovery
from strategies.crab import Crab
from strategies.federaser import FedEraser
from tests.support.unlearned import curve
from tests.support.world import RATE, WORK, D, World, finish, without_leavers

ALL = Drift(1, 1.0, 1.0)
WORLD = World(training=Training(rounds=12, work=WORK))
PARTIAL = World(training=Training(rounds=12, cohort=0.5, work=WORK), seed=4)
NEEDS = Crab().needs


def fresh_of(world, clients, weights, epochs=2):
    """What clients would send, in closed form."""
    targets = torch.stack([world.here.train[i].inputs[0].flatten() for i in clients])
    return (1 - (1 - RATE) ** epochs) * (targets - weights)


def start_of(history, leavers, strategy):
    """The place gone back to, by the definition."""
    rounds = selected_rounds(history, strategy.selection).rounds
    moved = [float(kept.share(set(leavers)).norm()) for kept in rounds]
    spent = [sum(moved[:place]) for place in range(len(rounds))]
    return max(p for p, s in enumerate(spent) if s <= strategy.beta * sum(moved) + 1e-12)


@pytest.mark.parametrize("world", [WORLD, PARTIAL], ids=["full", "partial"])
@pytest.mark.parametrize("leavers", [[1], [0, 3]])
@pytest.mark.parametrize("beta", [0, 0.1, 0.6])
def test_follows_its_equations(world, leavers, beta):
    strategy = Crab(beta=beta, max_ratio=1e9)
    models, history = curve(strategy, leavers, world)
    rounds = selected_rounds(history, strategy.selection).rounds
    start = start_of(history, leavers, strategy)
    weights = rounds[start].before
    assert torch.equal(models[0], weights)
    expected = []
    for place, stored in enumerate(rounds[start:]):
        kept = selected_updates(history, strategy.selection, stored).without(set(leavers))
        steps = kept.updates.deltas
        if not kept.clients:
            continue
        if place or not torch.equal(stored.before, weights):
            fresh = fresh_of(world, kept.clients, weights)
            steps = fresh * lengths(steps) / lengths(fresh)
        weights = weights + mean(steps, kept.updates.examples)
        expected.append(weights)
    assert len(models) == 1 + len(expected)
    torch.testing.assert_close(torch.stack(models[1:]), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_of_everything_from_the_first_round_it_is_federaser():
    models, _ = curve(Crab(beta=0, selection=ALL), [1], WORLD)
    erased, _ = curve(FedEraser(interval=1), [1], WORLD)
    torch.testing.assert_close(torch.stack(models[1:]), torch.stack(erased))


def test_calibrations_chain():
    """Public code starts each from the stored model, which the leavers trained."""
    models, history = curve(Crab(beta=0, selection=ALL, max_ratio=1e9), [1], WORLD)
    third, stored = models[3], history[2]
    kept = stored.without({1}).updates
    fresh = fresh_of(WORLD, kept.clients, stored.before)
    wrong = stored.before + mean(fresh * lengths(kept.deltas) / lengths(fresh), kept.examples)
    assert not torch.allclose(third, wrong, atol=1e-3)


def test_goes_back_no_further_than_needed():
    """Public code rolls nothing back; here the leaver came in round 7 of 12."""
    with WORLD.open() as clients:
        course = replace(WORLD.start, present=frozenset({0, 1, 2}))
        course = finish(train(course, clients, 6, NEEDS))
        course = replace(course, present=frozenset(range(4)))
        course = finish(train(course, clients, 12, NEEDS))
    models, history = curve(Crab(beta=0, selection=ALL), [3], WORLD, course)
    assert torch.equal(models[0], history[6].before)
    assert len(models) == 1 + 6
    later, _ = curve(Crab(beta=0.5, selection=ALL), [3], WORLD, course)
    assert 2 < len(later) < 7


def test_the_work_shrinks_with_what_is_selected():
    asked = []
    for strategy in (Crab(beta=0, selection=ALL), Crab(beta=0), Crab(beta=0.5)):
        with WORLD.open() as clients:
            course = WORLD.trained(clients)
            ledger = Ledger()
            remaining = replace(without_leavers(clients, [1], NEEDS), ledger=ledger)
            request = Request(frozenset({1}), 12)
            models = list(strategy.unlearn(request, course.history, remaining))
            assert len(models) <= strategy.length(request)
        asked.append(len(ledger.charges))
    assert asked[0] == 11 * 3
    assert asked[0] > asked[1] > asked[2] > 0


@pytest.mark.parametrize("share", [1.0, 0.75])
def test_a_store_that_keeps_no_more_gives_the_same_models(share):
    """Unless it left out what was the leavers': client 0 is among those kept from the start."""
    selection = Drift(5, 0.6, share)
    strategy = Crab(beta=0, selection=selection)
    whole, _ = curve(strategy, [0], WORLD)
    chosen = replace(WORLD.start, history=replace(WORLD.start.history, policy=selection))
    with WORLD.open() as clients:
        course = finish(train(chosen, clients, 12, NEEDS))
    found, history = curve(strategy, [0], WORLD, course)
    assert 0 in history[0].clients
    assert len(history) == 3 + 3 + 2
    assert {len(kept.clients) for kept in history} == {4 * share}
    torch.testing.assert_close(torch.stack(found), torch.stack(whole))


class TestNothingToUndo:
    def absent(self, policy=None):
        start = PARTIAL.start
        history = replace(start.history, policy=policy) if policy else start.history
        with PARTIAL.open() as clients:
            course = replace(start, history=history, present=frozenset({0, 1, 2}))
            course = finish(train(course, clients, 12, NEEDS))
        return replace(course, present=frozenset(range(4)))

    def test_a_leaver_who_never_took_part_changes_nothing(self):
        with PARTIAL.open() as clients:
            course = self.absent()
            charged = len(clients.ledger.charges)
            steps = forget(course, frozenset({3}), Crab(), NoRecovery(), clients, NEEDS)
            after = finish(steps)
            assert len(clients.ledger.charges) == charged
        assert torch.equal(after.history.final, course.history.final)

    @pytest.mark.parametrize("policy", [Drift(), Largest(0.5)])
    def test_unless_the_store_cannot_tell(self, policy):
        """What it left out may have been the leaver's: then all is replayed."""
        models, history = curve(Crab(), [3], PARTIAL, self.absent(policy))
        assert torch.equal(models[0], history.initial)
        assert len(models) > 1


def test_rounds_that_only_leavers_took_part_in_are_gone():
    """Then the model gone back to is all that is left."""
    layout, ones = WORLD.here.network.layout, torch.ones(D)
    history = History(layout, torch.zeros(D), 3 * ones)
    for number in (1, 2, 3):
        sent = Updates((1,), ones[None], torch.tensor([10]))
        done = Round(number, sent, 10, (number - 1) * ones)
        history = history.then(done, number * ones, NEEDS)
    with WORLD.open() as clients:
        remaining = without_leavers(clients, [1], NEEDS)
        request = Request(frozenset({1}), 3)
        (weights,) = Crab(beta=0).unlearn(request, history, remaining)
    assert torch.equal(weights, torch.zeros(D))


def test_a_second_request_does_not_bring_the_first_leaver_back():
    """Models stored before the first request know who left then."""
    strategy = Crab(beta=0.3, selection=ALL)
    with WORLD.open() as clients:
        course = WORLD.trained(clients)
        one = finish(forget(course, frozenset({1}), strategy, Plain(2), clients, NEEDS))
        assert one.history.forgot == 12
        steps = [
            step.weights
            for step in forget(one, frozenset({3}), strategy, NoRecovery(), clients, NEEDS)
        ]
    old = {float(kept.before.sum()) for kept in course.history[1:]}
    assert float(steps[1].sum()) not in old
    assert torch.equal(steps[1], course.history.initial)
    target = WORLD.formula([0, 2], 100)
    away = [(weights - target).norm() for weights in (one.history.final, steps[-1])]
    assert away[1] < 0.5 * away[0]


def test_a_vanished_direction_and_the_ratio():
    tight, _ = curve(Crab(beta=0, selection=ALL, max_ratio=1.0), [1], WORLD)
    loose, _ = curve(Crab(beta=0, selection=ALL, max_ratio=1e9), [1], WORLD)
    assert (tight[2] - tight[1]).norm() < (loose[2] - loose[1]).norm()


def test_values_outside_their_range_are_refused():
    for wrong in ({"beta": 1.0}, {"beta": -0.1}, {"effort": 0}, {"max_ratio": 0.5}):
        with pytest.raises(Refused, match=rf"Crab.{next(iter(wrong))} must be"):
            Crab(**wrong)
    assert Needs.union([NEEDS]) == Needs(updates=True, models=True, remaining=True)
