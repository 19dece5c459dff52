"""FedOSD's two stages, in the world of tests/support/world.py and on their own equations."""

from dataclasses import dataclass, replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import History, Needs, Updates
from fedunlearn.local import LocalWork, UnlearningCrossEntropy
from fedunlearn.models import Layout, mean
from fedunlearn.unlearning import Ledger, NoRecovery, Plain, Projected, Request, Training, forget
from strategies.fedaccum import FedAccum
from strategies.fedosd import FedOSD
from strategies.finetune import FineTune
from strategies.none import Nothing as NoUnlearning
from tests.support.unlearned import Mirrored, curve
from tests.support.world import WORK, D, Scaled, World, break_client, finish, without_leavers

KEEP = Needs(updates=True, models=True)


def cosine(a, b):
    return float(torch.dot(a.double(), b.double()) / (a.double().norm() * b.double().norm()))


def sent(world, weights, leavers, number, epochs=1):
    """What leavers and the others would send in an unlearning round, and how many records."""
    work = replace(WORK, epochs=epochs)
    with world.open() as clients:
        remaining = without_leavers(clients, leavers, FedOSD().needs)
        forgetting = replace(work, objective=UnlearningCrossEntropy())
        return (
            remaining.leavers.train(weights, leavers, forgetting, round=number),
            remaining.train(weights, work=work, round=number),
        )


class TestUnlearning:
    @pytest.mark.parametrize("epochs", [1, 2])
    @pytest.mark.parametrize("leavers", [[1], [0, 2]], ids=str)
    def test_follows_its_equations(self, leavers, epochs):
        world = World(sizes=(10, 20, 30, 40, 15))
        strategy = FedOSD(rounds=3, epochs=epochs, lr=0.7)
        models, history = curve(strategy, leavers, world)
        assert len(models) == strategy.length(Request(frozenset(leavers), 6)) == 3
        weights = history.final
        for number, found in enumerate(models, start=7):
            own, rest = sent(world, weights, leavers, number, epochs)
            g = mean(own.deltas, own.examples).double()
            rows = rest.deltas.double()
            d = g - rows.T @ torch.linalg.pinv(rows @ rows.T) @ rows @ g
            expected = weights + (0.7 * d * g.norm() / d.norm()).float()
            torch.testing.assert_close(found, expected)
            for row in rows:
                assert abs(cosine(d, row)) < 1e-6
                assert abs(cosine(found.double() - weights.double(), row)) < 1e-4
            assert cosine(found - weights, g) > 0
            weights = found

    def test_forgets(self):
        world = World()
        models, history = curve(FedOSD(rounds=5), [1], world)
        held = world.here.train[1]
        losses = [
            UnlearningCrossEntropy()(
                world.here.network, weights, held.inputs, held.labels, weights[None]
            ).mean()
            for weights in (history.final, *models)
        ]
        assert (torch.stack(losses).diff() < 0).all()

    def test_where_the_others_leave_no_direction_nothing_happens(self):
        """Seven clients span the six dimensions of the world: d would be rounding alone."""
        world = World(sizes=(10, 20, 30, 40, 15, 25, 35, 12))
        models, history = curve(FedOSD(rounds=2), [1], world)
        own, _ = sent(world, history.final, [1], 7)
        assert own.deltas.norm() > 1e-3
        assert all(torch.equal(weights, history.final) for weights in models)

    def test_only_the_cohort_of_the_round_is_protected_but_every_leaver_works(self):
        training = Training(rounds=6, cohort=0.2, work=WORK)
        world = World(sizes=(10, 20, 30, 40, 15), training=training)
        models, history = curve(FedOSD(rounds=3), [1, 4], world)
        weights = history.final
        for number, found in enumerate(models, start=7):
            own, rest = sent(world, weights, [1, 4], number)
            assert len(rest.clients) == 1
            assert own.clients == (1, 4)
            step = found - weights
            assert abs(cosine(step, rest.deltas[0])) < 1e-3
            torch.testing.assert_close(
                step.norm(), mean(own.deltas, own.examples).norm(), rtol=1e-3, atol=0
            )
            weights = found

    def test_relabelling_the_clients_changes_nothing(self):
        here, there = curve(FedOSD(rounds=2), [1])[0], curve(FedOSD(rounds=2), [2], Mirrored())[0]
        torch.testing.assert_close(here, there)

    def test_everybody_is_asked_in_every_round_and_nothing_is_stored(self):
        world, ledger = World(), Ledger()
        strategy = FedOSD(rounds=3)
        with world.open() as clients:
            course = world.trained(clients)
            asked = replace(without_leavers(clients, [2], strategy.needs), ledger=ledger)
            list(strategy.unlearn(Request(frozenset({2}), 6), course.history, asked))
        assert sorted(charge.client for charge in ledger) == sorted(3 * [0, 1, 2, 3])
        assert ledger.samples == 3 * 90  # rounds x records, of which a tenth is held out
        assert not strategy.needs.rounds
        assert strategy.needs.leaver

    def test_a_round_in_which_nobody_who_remains_answered_is_skipped(self, monkeypatch):
        world = World(sizes=(10, 20), training=Training(rounds=2, work=WORK, tolerated_failures=1))
        with world.open() as clients:
            course = world.trained(clients)
            break_client(monkeypatch, world, 0)
            remaining = without_leavers(clients, [1], FedOSD().needs)
            request = Request(frozenset({1}), 2)
            (found,) = FedOSD(rounds=1).unlearn(request, course.history, remaining)
        assert torch.equal(found, course.history.final)

    def test_two_requests_in_sequence(self):
        world = World(sizes=(10, 20, 30, 40, 15))
        with world.open() as clients:
            course = world.trained(clients)
            for number, leaver in enumerate((0, 3), start=1):
                before = course.history.final
                steps = forget(course, {leaver}, FedOSD(rounds=1), Projected(1), clients, KEEP)
                course = finish(steps)
                assert course.request == number
                assert not torch.equal(course.history.final, before)
        assert course.present == {1, 2, 4}
        assert all(not {0, 3} & set(kept.clients) for kept in course.history)

    @pytest.mark.parametrize("field", ["rounds", "epochs", "lr"])
    def test_wrong_values_are_refused(self, field):
        with pytest.raises(Refused, match=rf"FedOSD\.{field}"):
            FedOSD(**{field: 0})


@dataclass
class Fake:
    """Clients whose updates also move a buffer, as those of somebody else's app might."""

    size: int
    work = LocalWork()
    ids = frozenset({0, 1})

    @property
    def leavers(self):
        return self

    def train(self, weights, who=None, work=None, *, round, other=None):
        seed = 1 if work.objective == UnlearningCrossEntropy() else 2
        deltas = torch.randn(2, self.size, generator=torch.Generator().manual_seed(seed))
        return Updates((0, 1), deltas, torch.tensor([3, 5]))


def test_buffers_are_no_direction():
    layout = Layout.of(Scaled())
    final = torch.ones(layout.size)
    history = History(layout, torch.zeros(layout.size), final)
    clients = Fake(layout.size)
    (found,) = FedOSD(rounds=1).unlearn(Request(frozenset({0}), 1), history, clients)
    moved = found - final
    assert layout.parameters.stop < layout.size
    assert not moved[layout.parameters.stop :].any()
    rows = clients.train(final, work=clients.work, round=2).deltas[:, layout.parameters]
    assert max(abs(cosine(moved[layout.parameters], row)) for row in rows) < 1e-4


class TestProjected:
    world = World()
    shift = torch.linspace(-0.5, 1.0, D)

    def recovered(self, recovery, weights=None, original=None):
        """Recover after round 6; return the models before, and the rounds."""
        with self.world.open() as clients:
            final = self.world.trained(clients).history.final
            original = final if original is None else original
            start = final + self.shift if weights is None else weights
            remaining = without_leavers(clients, [1])
            return final, start, list(recovery.recover(start, original, 6, remaining))

    def test_every_step_is_orthogonal_to_the_way_back(self):
        original, weights, rounds = self.recovered(Projected(4))
        assert len(rounds) == Projected(4).rounds == 4
        for updates, after in rounds:
            assert (after - weights).norm() > 1e-3
            assert abs(cosine(after.double() - weights.double(), weights - original)) < 1e-5
            for row in updates.deltas:
                assert abs(cosine(row, weights - original)) < 1e-5
            weights = after

    def test_follows_its_equation(self):
        original, weights, rounds = self.recovered(Projected(3))
        for number, (updates, after) in enumerate(rounds, start=7):
            with self.world.open() as clients:
                plain = without_leavers(clients, [1]).train(weights, round=number)
            a = weights - original
            rows = plain.deltas - torch.outer(plain.deltas @ a / a.dot(a), a)
            rows = rows * plain.deltas.norm(dim=1, keepdim=True) / rows.norm(dim=1, keepdim=True)
            torch.testing.assert_close(updates.deltas, rows, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(after, weights + mean(rows, plain.examples))
            assert updates.clients == (0, 2, 3)
            weights = after

    @pytest.mark.parametrize("batches", [None, 1])
    def test_without_a_way_there_is_nothing_to_take_out(self, batches):
        same = torch.linspace(0, 1, D)
        _, _, projected = self.recovered(Projected(1, batches=batches), same, same)
        _, _, plain = self.recovered(Plain(1, batches=batches), same, same)
        assert torch.equal(projected[0][1], plain[0][1])
        assert torch.equal(projected[0][0].deltas, plain[0][0].deltas)

    def test_it_is_not_plain_where_there_is_one(self):
        assert not torch.allclose(
            self.recovered(Projected(1))[2][0][1], self.recovered(Plain(1))[2][0][1]
        )

    def test_the_updates_that_it_yields_are_those_that_moved_the_model(self):
        for lr in (1.0, 0.5, 3.0):
            _, weights, rounds = self.recovered(Projected(3, lr))
            for updates, after in rounds:
                torch.testing.assert_close(after, weights + mean(updates.deltas, updates.examples))
                weights = after

    def test_the_server_s_rate_stretches_the_step(self):
        ends = {lr: self.recovered(Projected(1, lr)) for lr in (1.0, 2.5)}
        (_, start, ((_, one),)), (_, _, ((_, more),)) = ends[1.0], ends[2.5]
        torch.testing.assert_close(more - start, 2.5 * (one - start), rtol=1e-4, atol=1e-6)

    def test_history_replays_what_happened(self):
        """The sum of the recorded rounds is the way that the model went."""
        with self.world.open() as clients:
            course = self.world.trained(clients)
            unlearnt = finish(forget(course, {1}, FedAccum(), NoRecovery(), clients, KEEP))
            after = finish(forget(course, {1}, FedAccum(), Projected(3, 0.5), clients, KEEP))
        new = after.history[len(unlearnt.history) :]
        assert [kept.number for kept in new] == [7, 8, 9]
        steps = sum(mean(kept.updates.deltas, kept.updates.examples) for kept in new)
        torch.testing.assert_close(after.history.final, unlearnt.history.final + steps)

    @pytest.mark.parametrize("strategy", [NoUnlearning(), FineTune(rounds=1), FedAccum()], ids=repr)
    def test_serves_every_strategy(self, strategy):
        with self.world.open() as clients:
            course = self.world.trained(clients)
            steps = list(forget(course, {1}, strategy, Projected(2), clients, KEEP))
        assert [step.moment.phase for step in steps][-2:] == ["recover", "recover"]
        assert all(torch.isfinite(step.weights).all() for step in steps)

    def test_a_round_that_everybody_failed_changes_nothing(self, monkeypatch):
        training = Training(rounds=2, work=WORK, tolerated_failures=1)
        world = World(sizes=(10, 20), training=training)
        with world.open() as clients:
            break_client(monkeypatch, world, 0)
            start = torch.ones(D)
            remaining = without_leavers(clients, [1])
            ((updates, after),) = Projected(1).recover(start, start / 2, 2, remaining)
        assert updates.clients == ()
        assert torch.equal(after, start)

    def test_wrong_values_are_refused(self):
        with pytest.raises(Refused, match=r"Projected\.rounds must be a whole number"):
            Projected(0)
        with pytest.raises(Refused, match=r"Projected\.lr must be a number above 0"):
            Projected(1, 0)
