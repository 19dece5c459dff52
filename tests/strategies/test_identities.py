"""Unlearning methods against mathematics; the world is that of tests/support/world.py."""

import math
from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import Distillation, LocalWork, Sgd
from fedunlearn.models import lengths, mean
from fedunlearn.unlearning import SERVER_ID, Ledger, Plain, Request, Training, forget, train
from fedunlearn.unlearning import NoRecovery as NoRecovery
from strategies.fedaccum import FedAccum
from strategies.federaser import SCOPES, FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.retrain import Retrain
from strategies.subtraction import Subtraction
from tests.support.grid_clients import with_channel
from tests.support.unlearned import Mirrored, asked_of_clients, curve
from tests.support.world import (
    RATE,
    WORK,
    D,
    World,
    break_client,
    finish,
    without_leavers,
)

ALL = [Nothing(), Retrain(), FineTune(), FedEraser(), FedAccum(), Subtraction(rounds=0)]
PLAIN = Subtraction(rounds=0)
DISTIL = LocalWork(epochs=2, batch_size=4, optimizer=Sgd(lr=0.1), objective=Distillation())


class TestNobodyLeaves:
    """Then nothing changes: the test that catches most of what public code does wrong."""

    @pytest.mark.parametrize(
        "strategy",
        [
            Retrain(),
            FedEraser(interval=1, effort=1.0),
            FedEraser(interval=1, effort=0.5),  # here a shorter training points the same way
            FedEraser(interval=1, scope="averaged_tensor"),
            FedEraser(interval=1, scope="client_tensor"),
            FedAccum(interval=1),
            PLAIN,
            Subtraction(rounds=2, work=DISTIL),
        ],
        ids=repr,
    )
    def test_every_method_returns_the_trained_model(self, strategy):
        models, history = curve(strategy, leavers=[])
        torch.testing.assert_close(models[-1], history.final, rtol=1e-4, atol=1e-5)

    def test_retraining_repeats_training_bit_for_bit(self):
        models, history = curve(Retrain(), leavers=[])
        assert torch.equal(models[-1], history.final)

    @pytest.mark.parametrize("strategy", ALL, ids=lambda s: type(s).__name__)
    def test_the_driver_changes_nothing_for_any_strategy(self, strategy):
        world = World()
        with world.open() as clients:
            course = world.trained(clients)
            charges = len(clients.ledger.charges)
            steps = forget(course, frozenset(), strategy, Plain(3), clients, Needs())
            after = finish(steps)
            assert len(clients.ledger.charges) == charges
        assert torch.equal(after.history.final, course.history.final)
        assert after.present == course.present


class TestNeverTookPart:
    """A leaver who was in no cohort left no trace; methods that undo traces change nothing."""

    world = World(sizes=(10, 20, 30, 40), training=Training(rounds=5, cohort=0.5, work=WORK))

    def absent(self, clients):
        """Train while client 3 is not reachable."""
        course = replace(self.world.start, present=frozenset({0, 1, 2}))
        steps = train(course, clients, self.world.training.rounds, Needs(updates=True))
        return replace(finish(steps), present=frozenset(range(4)))

    @pytest.mark.parametrize(
        "strategy", [Retrain(), FedEraser(interval=1, effort=1.0), FedAccum(), PLAIN], ids=repr
    )
    def test_nothing_changes(self, strategy):
        with self.world.open() as clients:
            course = self.absent(clients)
        models, history = curve(strategy, [3], self.world, course)
        torch.testing.assert_close(models[-1], history.final, rtol=1e-4, atol=1e-5)


class TestRetrain:
    def test_equals_the_formula_over_those_who_remain_round_by_round(self):
        world = World()
        models, _ = curve(Retrain(), [1], world)
        assert len(models) == 6
        for number, weights in enumerate(models, start=1):
            torch.testing.assert_close(weights, world.formula([0, 2, 3], number))

    def test_several_leave_at_once(self):
        world = World()
        models, _ = curve(Retrain(), [0, 3], world)
        torch.testing.assert_close(models[-1], world.formula([1, 2], 6))


class TestFineTune:
    def test_equals_the_formula_from_the_trained_model(self):
        world = World()
        models, history = curve(FineTune(rounds=4), [2], world)
        assert len(models) == 4
        expected = world.formula([0, 1, 3], 4, weights=history.final)
        torch.testing.assert_close(models[-1], expected)


class TestFedEraser:
    def test_follows_its_equations(self):
        """The paper's loop, written again with a closed form in place of the clients."""
        world = World()
        strategy = FedEraser(interval=2, effort=0.4, max_ratio=1e9)
        models, history = curve(strategy, [1], world)
        assert [kept.number for kept in history] == [1, 3, 5]
        shrink = (1 - RATE) ** math.ceil(0.4 * 3)
        weights = history.initial
        for place, kept in enumerate(history.without({1})):
            steps = kept.updates.deltas
            if place > 0:
                targets = [world.here.train[i].inputs[0].flatten() for i in kept.updates.clients]
                fresh = (1 - shrink) * (torch.stack(targets) - weights)
                steps = fresh * lengths(kept.updates.deltas) / lengths(fresh)
            weights = weights + mean(steps, kept.updates.examples)
            torch.testing.assert_close(models[place], weights, rtol=1e-4, atol=1e-5)

    def test_the_step_length_is_that_of_the_round_itself(self):
        """Public code takes |mean(CM) - GM_{t+1}|, which is 0 where nobody leaves."""
        models, history = curve(FedEraser(interval=1, effort=1.0), [])
        steps = [(b - a).norm() for a, b in zip([history.initial, *models], models, strict=False)]
        stored = [kept.share(set(kept.updates.clients)).norm() for kept in history]
        torch.testing.assert_close(torch.stack(steps), torch.stack(stored), rtol=1e-3, atol=1e-5)
        assert min(stored) > 0

    def test_the_paper_s_printed_factor_is_not_applied(self):
        """Its equation (2) divides by K - 1 twice; the first step would shrink threefold."""
        models, history = curve(FedEraser(), [1])
        first = history.without({1})[0].updates
        expected = history.initial + mean(first.deltas, first.examples)
        torch.testing.assert_close(models[0], expected)

    def test_the_original_model_was_trained_with_the_leaver(self):
        """Public forks skip the leaver in training and then 'forget' it."""
        world = World()
        _, history = curve(FedEraser(), [1], world)
        assert all(1 in kept.updates.clients for kept in history)
        torch.testing.assert_close(history.final, world.formula(range(4), 6))

    def test_a_vanished_direction_does_not_become_nan(self):
        """Public code divides by the norm without a guard."""
        world = World(sizes=(10, 20), training=Training(rounds=3, work=WORK))
        with world.open() as clients:
            course = world.trained(clients)
            target = world.here.train[0].inputs[0].flatten()
            history = replace(course.history, initial=target - mean_step(course.history, 0))
            remaining = without_leavers(clients, [1], Needs(remaining=True))
            request = Request(frozenset({1}), 3)
            models = list(FedEraser(interval=1).unlearn(request, history, remaining))
        assert all(torch.isfinite(weights).all() for weights in models)
        torch.testing.assert_close(models[-1], target)

    def test_a_calibration_that_lost_a_client_keeps_the_others_lengths(self, monkeypatch):
        world = World(training=Training(rounds=3, work=WORK, tolerated_failures=1))
        strategy = FedEraser(interval=1, effort=1.0, max_ratio=1e9)
        with world.open() as clients:
            course = world.trained(clients)
            break_client(monkeypatch, world, 0)
            remaining = without_leavers(clients, [1], strategy.needs)
            request = Request(frozenset({1}), 3)
            models = list(strategy.unlearn(request, course.history, remaining))
        kept = course.history[1].updates.only({2, 3})
        targets = [world.here.train[i].inputs[0].flatten() for i in (2, 3)]
        fresh = torch.stack(targets) - models[0]
        step = mean(fresh * lengths(kept.deltas) / lengths(fresh), kept.examples)
        torch.testing.assert_close(models[1], models[0] + step, rtol=1e-4, atol=1e-5)

    def test_the_ratio_is_clipped(self):
        world = World()
        models, _ = curve(FedEraser(interval=1, effort=0.4, max_ratio=1.0), [1], world)
        loose, _ = curve(FedEraser(interval=1, effort=0.4, max_ratio=1e9), [1], world)
        tight_step = (models[1] - models[0]).norm()
        assert tight_step < (loose[1] - loose[0]).norm()
        expected = world.formula([0, 2, 3], 1, weights=models[0], epochs=2) - models[0]
        torch.testing.assert_close(tight_step, expected.norm(), rtol=1e-4, atol=1e-5)

    def test_calibration_uses_a_share_of_the_epochs_rounded_up(self):
        work = replace(WORK, epochs=5)
        assert [work.scaled(e).epochs for e in (0.1, 0.2, 0.21, 0.5, 1.0)] == [1, 1, 2, 3, 5]

    @pytest.mark.parametrize(
        ("rounds", "interval", "effort"), [(6, 2, 0.5), (24, 2, 0.5), (7, 3, 1.0), (8, 1, 0.3)]
    )
    def test_the_cost_law(self, rounds, interval, effort):
        """Client epochs T E / ((J - 1) ceil(r E)) and messages T / (J - 1) below retraining's."""
        world = World(training=Training(rounds=rounds, work=WORK))
        spent = {}
        for strategy in (Retrain(), FedEraser(interval=interval, effort=effort)):
            with world.open() as clients:
                course = world.trained(clients)
                ledger = Ledger()
                history = course.history.select(strategy.needs, rounds)
                asked = replace(without_leavers(clients, [0]), ledger=ledger)
                list(strategy.unlearn(Request(frozenset({0}), rounds), history, asked))
            spent[type(strategy)] = (ledger.client_epochs, ledger.messages)
        retrained, erased = spent[Retrain], spent[FedEraser]
        epochs, kept = WORK.epochs, rounds // interval
        assert retrained[0] / erased[0] == rounds * epochs / (
            (kept - 1) * math.ceil(effort * epochs)
        )
        assert retrained[1] / erased[1] == rounds / (kept - 1)

    @pytest.mark.parametrize("scope", SCOPES)
    def test_relabelling_the_clients_changes_nothing(self, scope):
        strategy = FedEraser(interval=2, scope=scope)
        there = curve(strategy, [0], World(sizes=(10, 20, 20, 20)))[0][-1]
        here = curve(strategy, [0], World(sizes=(10, 20, 20, 20), seed=99))[0][-1]
        torch.testing.assert_close(here, there)

    def test_scopes_differ(self):
        ends = [curve(FedEraser(interval=1, scope=scope), [1])[0][-1] for scope in SCOPES]
        assert not torch.allclose(ends[0], ends[1])
        assert not torch.allclose(ends[1], ends[2])


def mean_step(history, client):
    return history[0].without({1}).updates.only({client}).deltas[0]


class TestFedAccum:
    def test_is_the_first_model_and_all_stored_steps(self):
        models, history = curve(FedAccum(), [2])
        steps = [mean(r.updates.deltas, r.updates.examples) for r in history.without({2})]
        torch.testing.assert_close(models[-1], history.initial + torch.stack(steps).sum(0))

    def test_an_interval_applies_that_share_of_training(self):
        models, history = curve(FedAccum(interval=3, scale=3.0), [2])
        assert [kept.number for kept in history] == [1, 4]
        steps = [mean(r.updates.deltas, r.updates.examples) for r in history.without({2})]
        torch.testing.assert_close(models[-1], history.initial + 3 * torch.stack(steps).sum(0))

    def test_costs_nothing(self):
        assert asked_of_clients(FedAccum()) == 0


class TestSubtraction:
    def test_full_participation_is_the_first_model_and_the_others_shares(self):
        models, history = curve(PLAIN, [2])
        others = [kept.share({0, 1, 3}) for kept in history]
        torch.testing.assert_close(models[-1], history.initial + torch.stack(others).sum(0))

    def test_does_not_scale_the_others_up(self):
        """The rule that renormalises by N/(N-1) skews more; it would give FedAccum."""
        subtracted, _ = curve(PLAIN, [2])
        accumulated, _ = curve(FedAccum(), [2])
        assert not torch.allclose(subtracted[-1], accumulated[-1])

    def test_weights_are_those_of_the_cohort_of_the_day(self):
        world = World(training=Training(rounds=5, cohort=0.5, work=WORK))
        models, history = curve(PLAIN, [2], world)
        expected = history.final.clone()
        for kept in history:
            for client, delta, count in zip(
                kept.updates.clients, kept.updates.deltas, kept.updates.examples, strict=True
            ):
                if client == 2:
                    expected -= delta * count / kept.updates.examples.sum()
        torch.testing.assert_close(models[-1], expected)

    def test_a_second_leaver_is_subtracted_with_the_same_weights(self):
        world = World()
        with world.open() as clients:
            course = world.trained(clients)
            needs = PLAIN.needs
            both = finish(forget(course, frozenset({1, 2}), PLAIN, NoRecovery(), clients, needs))
            one = finish(forget(course, frozenset({1}), PLAIN, NoRecovery(), clients, needs))
            then = finish(forget(one, frozenset({2}), PLAIN, NoRecovery(), clients, needs))
        torch.testing.assert_close(then.history.final, both.history.final)

    def test_scale_takes_out_a_share(self):
        full, history = curve(PLAIN, [2])
        half, _ = curve(Subtraction(scale=0.5, rounds=0), [2])
        torch.testing.assert_close(half[-1], (history.final + full[-1]) / 2)

    def test_asks_no_client_and_charges_the_server_for_distillation(self):
        assert asked_of_clients(PLAIN) == 0
        world = World()
        strategy = Subtraction(rounds=3, work=DISTIL)
        with world.open() as clients:
            course = world.trained(clients)
            ledger = Ledger()
            proxy = replace(clients.channel.proxy, ledger=ledger)
            asked = without_leavers(clients, [2], strategy.needs)
            asked = with_channel(replace(asked, ledger=ledger), proxy=proxy)
            list(strategy.unlearn(Request(frozenset({2}), 6), course.history, asked))
        assert {charge.client for charge in ledger} == {SERVER_ID}
        assert ledger.samples == 3 * (2 + 1) * 8  # rounds x (epochs + the teacher's pass) x images
        assert ledger.messages == 0

    def test_distillation_brings_the_student_to_the_teacher(self):
        models, history = curve(Subtraction(rounds=20, work=replace(DISTIL, epochs=20)), [2])
        world = World()
        teacher, first, last = (
            torch.log_softmax(world.here.network(w, world.proxy_images), dim=1)
            for w in (history.final, models[0], models[-1])
        )
        assert (teacher - last).abs().max() < 0.05 * (teacher - first).abs().max()


@pytest.mark.parametrize("strategy", [*ALL, Subtraction(rounds=3, work=DISTIL)], ids=repr)
def test_yields_as_many_models_as_announced(strategy):
    models, _ = curve(strategy, [1])
    assert len(models) == strategy.length(Request(frozenset({1}), 6))


@pytest.mark.parametrize("strategy", [*ALL, Subtraction(rounds=1, work=DISTIL)], ids=repr)
def test_relabelling_the_clients_changes_nothing(strategy):
    """The same clients under other numbers: (10, 20, 30, 40) with 1 leaving, reversed with 2."""
    world = World()
    mirrored = Mirrored()
    there = [*curve(strategy, [1], world)[0], world.start.history.initial]
    here = [*curve(strategy, [2], mirrored)[0], mirrored.start.history.initial]
    torch.testing.assert_close(here[0], there[0])
    torch.testing.assert_close(here[-2:], there[-2:])


def test_wrong_hyperparameters_are_refused():
    with pytest.raises(Refused, match="did you mean client_tensor"):
        FedEraser(scope="client_tensr")
    with pytest.raises(Refused, match=r"FedEraser.interval must be a whole number"):
        FedEraser(interval=0)
    with pytest.raises(Refused, match=r"above 0 and at most 1, not 1\.5"):
        FedEraser(effort=1.5)
    with pytest.raises(Refused, match=r"FineTune.rounds"):
        FineTune(rounds=0)
    with pytest.raises(Refused, match=r"Subtraction.scale"):
        Subtraction(scale=0)


def test_the_world_is_what_it_says():
    world = World()
    weights = world.formula([1], 1)
    target = world.here.train[1].inputs[0].flatten()
    shrink = (1 - RATE) ** WORK.epochs
    start = world.start.history.initial
    torch.testing.assert_close(weights, target + shrink * (start - target))
    assert len(start) == D
