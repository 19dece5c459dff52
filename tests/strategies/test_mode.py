"""MoDe in closed form, in the world of tests/support/world.py."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import PseudoLabels, Schedule
from fedunlearn.models import mean
from fedunlearn.unlearning import Ledger, Plain, Request, Training, forget
from strategies.finetune import FineTune
from strategies.mode import MoDe
from tests.support.unlearned import Mirrored, curve
from tests.support.world import WORK, World, finish, without_leavers

ALONE = MoDe(rounds=5, degrading=3, momentum=0.8, epochs=2, ask_leaver=False)
GUIDED = replace(ALONE, ask_leaver=True)


class TestWithoutTheLeaver:
    def test_is_its_formula(self):
        world = World()
        models, history = curve(ALONE, [1], world)
        assert len(models) == ALONE.length(Request(frozenset({1}), 6)) == 5
        weights, fresh, rest = history.final, history.initial, [0, 2, 3]
        for number, found in enumerate(models, start=1):
            if number <= 3:
                fresh = world.formula(rest, 1, fresh, epochs=2)
                weights = 0.8 * weights + 0.2 * fresh
            weights = world.formula(rest, 1, weights, epochs=2)
            torch.testing.assert_close(found, weights)

    @pytest.mark.parametrize("change", [{"momentum": 1.0}, {"degrading": 0}], ids=str)
    def test_without_mixing_it_is_fine_tuning(self, change):
        world = World(
            training=Training(
                rounds=6, work=replace(WORK, schedule=Schedule("exponential", decay=0.7))
            )
        )
        found, history = curve(replace(ALONE, epochs=WORK.epochs, **change), [1], world)
        expected, _ = curve(FineTune(rounds=5), [1], world)
        assert (found[-1] - history.final).norm() > 1e-2
        torch.testing.assert_close(found, expected)

    def test_the_second_model_starts_at_the_learning_rate_of_round_1(self):
        world = World(
            training=Training(
                rounds=6, work=replace(WORK, schedule=Schedule("exponential", decay=0.5))
            )
        )
        (found,), history = curve(replace(ALONE, momentum=0.0, rounds=1), [1], world)
        with world.open() as clients:
            work, rest = replace(world.training.work, epochs=2), [0, 2, 3]
            weights = history.initial
            for number in (1, 7):
                updates = clients.train(weights, rest, work, round=number)
                weights = weights + mean(updates.deltas, updates.examples)
        torch.testing.assert_close(found, weights)

    def test_without_momentum_the_new_model_takes_over(self):
        world = World()
        strategy = replace(ALONE, momentum=0.0, rounds=3)
        models, history = curve(strategy, [1], world)
        expected = world.formula([0, 2, 3], 4, history.initial, epochs=2)
        torch.testing.assert_close(models[-1], expected)

    def test_asks_the_leaver_nothing(self):
        assert not ALONE.needs.leaver
        assert charges(ALONE) == Counter({(0, 1): 8, (1, 1): 8, (3, 1): 8})


def charges(strategy, world=World(), leavers=frozenset({2})):
    """Count messages by client and models sent down."""
    ledger = Ledger()
    with world.open() as clients:
        course = world.trained(clients)
        asked = replace(without_leavers(clients, leavers, strategy.needs), ledger=ledger)
        list(strategy.unlearn(Request(leavers, 6), course.history, asked))
    size = course.history.final.nbytes
    assert all(charge.bytes_up == size for charge in ledger)
    return Counter((charge.client, charge.bytes_down / size) for charge in ledger)


class TestWithTheLeaver:
    @pytest.mark.parametrize("leavers", [[1], [0, 3]], ids=str)
    def test_leavers_guide_by_what_the_new_model_says(self, leavers):
        world = World()
        models, history = curve(GUIDED, leavers, world)
        rest = sorted(set(range(4)) - set(leavers))
        weights, fresh = history.final, history.initial
        work = replace(WORK, epochs=2)
        with world.open() as clients:
            for number, found in enumerate(models, start=1):
                if number <= 3:
                    fresh = world.formula(rest, 1, fresh, epochs=2)
                    weights = 0.8 * weights + 0.2 * fresh
                imitating = replace(work, objective=PseudoLabels())
                own = clients.train(weights, leavers, imitating, round=6 + number, other=fresh)
                others = clients.train(weights, rest, work, round=6 + number)
                assert own.deltas.norm() > 1e-4
                weights = weights + mean(
                    torch.cat([own.deltas, others.deltas]),
                    torch.cat([own.examples, others.examples]),
                )
                torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-5)

    def test_two_models_go_to_everybody_in_a_round_that_mixes(self):
        others = {(client, 1): 5 + 3 for client in (0, 1, 3)}
        assert charges(GUIDED) == Counter({**others, (2, 2): 5})

    def test_every_leaver_guides_however_small_the_cohort_is(self):
        world = World(training=Training(rounds=6, cohort=0.25, work=WORK))
        counted = charges(GUIDED, world, frozenset({1, 2}))
        assert counted[1, 2] == counted[2, 2] == 5
        assert sum(counted.values()) == 5 + 5 + 5 + 3  # one of those who remain, in either part

    def test_relabelling_the_clients_changes_nothing(self):
        torch.testing.assert_close(curve(GUIDED, [1])[0], curve(GUIDED, [2], Mirrored())[0])


@pytest.mark.parametrize("strategy", [ALONE, GUIDED], ids=["alone", "guided"])
def test_cohorts_and_two_requests_in_sequence(strategy):
    world = World(sizes=(10, 20, 30, 40, 15), training=Training(rounds=4, cohort=0.4, work=WORK))
    needs = Needs(updates=True)
    with world.open() as clients:
        course = world.trained(clients, needs)
        before = [kept.number for kept in course.history]
        for leavers in ({0}, {2, 3}):
            course = finish(forget(course, leavers, strategy, Plain(1), clients, needs))
    assert course.present == {1, 4}
    assert torch.isfinite(course.history.final).all()
    numbers = [kept.number for kept in course.history]
    assert set(numbers) <= {*before, 5}  # no training round was replaced
    assert not strategy.needs.replaces


@pytest.mark.parametrize(
    "wrong",
    [{"rounds": 0}, {"degrading": -1}, {"momentum": 1.5}, {"epochs": 0}, {"ask_leaver": "maybe"}],
    ids=str,
)
def test_wrong_values_are_refused(wrong):
    (field,) = wrong
    with pytest.raises(Refused, match=rf"MoDe\.{field}"):
        MoDe(**wrong)
