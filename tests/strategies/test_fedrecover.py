"""FedRecover where it is exact, what it asks, and that its guard keeps it from diverging."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import History, Needs, Round, Updates
from fedunlearn.local import LocalWork, Schedule, Sgd
from fedunlearn.methods import Estimator, Secants, displacement, quantile, stored_rounds
from fedunlearn.methods.stored_rounds import step_of
from fedunlearn.models import Layout
from fedunlearn.unlearning import Ledger, NoRecovery, Plain, Request, Training, forget, train
from strategies.fedrecover import FedRecover
from strategies.retrain import Retrain
from tests.support.unlearned import curve
from tests.support.world import WORK, World, finish, without_leavers

LONG = World(training=Training(rounds=20, work=WORK))
NEEDS = FedRecover().needs
FREE = {"tolerance": 0.0, "max_ratio": 1e9}
SPARSE = FedRecover(warmup=3, interval=5, tuning=2, **FREE)


def served(strategy, leavers, world, course=None):
    """Return the models that a strategy yields, and how often each client was asked."""
    with world.open() as clients:
        course = course or world.trained(clients, NEEDS)
        ledger = Ledger()
        asked = replace(without_leavers(clients, leavers, strategy.needs), ledger=ledger)
        history = course.history.select(strategy.needs, course.round)
        request = Request(frozenset(leavers), course.round)
        models = list(strategy.unlearn(request, history, asked))
    calls = [charge.client for charge in ledger]
    return models, {client: calls.count(client) for client in set(calls)}


class TestSchedule:
    @pytest.mark.parametrize(
        ("warmup", "interval", "tuning", "rounds"),
        [(3, 5, 2, 20), (4, 4, 3, 24), (20, 20, 5, 2000), (3, 1, 0, 9), (4, 3, 3, 6), (3, 9, 0, 5)],
    )
    def test_asks_in_as_many_rounds_as_the_paper_says(self, warmup, interval, tuning, rounds):
        strategy = FedRecover(warmup=warmup, interval=interval, tuning=tuning)
        asked = [strategy.asks(place, rounds) for place in range(rounds)]
        between = max(0, rounds - warmup - tuning)
        assert sum(asked) == min(rounds, warmup + tuning) + between // interval
        assert all(asked[:warmup])
        assert all(asked[rounds - tuning :])

    def test_correction_comes_at_the_end_of_each_interval(self):
        strategy = FedRecover(warmup=3, interval=3, tuning=1)
        asked = [place for place in range(12) if strategy.asks(place, 12)]
        assert asked == [0, 1, 2, 5, 8, 11]


class TestQuadratic:
    """Every Hessian is c I there, so that estimates are exact."""

    def test_equals_retraining_round_by_round(self):
        models, calls = served(SPARSE, [1], LONG)
        for number, weights in enumerate(models, start=1):
            torch.testing.assert_close(
                weights, LONG.formula([0, 2, 3], number), rtol=1e-4, atol=1e-5
            )
        assert calls == dict.fromkeys((0, 2, 3), 3 + 2 + 15 // 5)

    def test_several_leave_at_once(self):
        models, calls = served(SPARSE, [0, 3], LONG)
        expected = LONG.formula([1, 2], 20)
        torch.testing.assert_close(models[-1], expected, rtol=1e-4, atol=1e-5)
        assert calls == {1: 8, 2: 8}

    def test_a_learning_rate_that_decays_is_taken_out_of_the_updates(self):
        work = replace(WORK, epochs=1, schedule=Schedule("exponential", decay=0.9))
        world = World(training=Training(rounds=20, work=work))
        models, calls = served(SPARSE, [1], world)
        retrained, _ = curve(Retrain(), [1], world)
        torch.testing.assert_close(models[-1], retrained[-1], rtol=1e-4, atol=1e-5)
        assert calls[0] == 8

    def test_partial_participation_estimates_those_who_were_there(self):
        """Each client is estimated from its own rounds; who was never asked yet is asked."""
        world = World(
            sizes=(10, 20, 30, 40, 50), training=Training(rounds=30, cohort=0.6, work=WORK)
        )
        with world.open() as clients:
            course = world.trained(clients, NEEDS)
        models, calls = served(SPARSE, [1], world, course)
        weights = world.start.history.initial.double()
        for kept, found in zip(course.history.without({1}), models, strict=True):
            weights = world.formula(kept.clients, 1, weights=weights).double()
            torch.testing.assert_close(found, weights.float(), rtol=1e-4, atol=1e-5)
        present = sum(len(kept.without({1}).clients) for kept in course.history)
        assert 3 + 2 + 25 // 5 < sum(calls.values()) < 0.6 * present

    def test_a_second_request_recovers_from_the_same_history(self):
        with LONG.open() as clients:
            course = LONG.trained(clients, NEEDS)
            for leaver in (1, 2):
                steps = forget(course, frozenset({leaver}), SPARSE, NoRecovery(), clients, NEEDS)
                course = finish(steps)
        torch.testing.assert_close(
            course.history.final, LONG.formula([0, 3], 20), rtol=1e-4, atol=1e-5
        )
        assert course.history.final.isfinite().all()

    def test_rounds_of_recovery_are_replayed_as_well(self):
        with LONG.open() as clients:
            course = finish(train(LONG.start, clients, 10, NEEDS))
            steps = forget(course, frozenset({1}), SPARSE, Plain(2), clients, NEEDS)
            course = finish(train(finish(steps), clients, 20, NEEDS))
        models, _ = served(SPARSE, [2], LONG, course)
        assert len(models) == 22
        torch.testing.assert_close(models[-1], LONG.formula([0, 3], 22), rtol=1e-4, atol=1e-5)


class TestNothingToForget:
    def test_a_leaver_who_never_took_part_changes_no_bit_and_costs_no_fixes(self):
        course = replace(LONG.start, present=frozenset({0, 1, 2}))
        with LONG.open() as clients:
            course = finish(train(course, clients, 20, NEEDS))
        models, calls = served(FedRecover(), [3], LONG, course)
        assert torch.equal(models[-1], course.history.final)
        assert calls == dict.fromkeys((0, 1, 2), 4 + 3 + 13 // 4)

    def test_a_round_of_leavers_alone_is_skipped(self):
        world = World(sizes=(10, 20, 30), training=Training(rounds=9, cohort=0.34, work=WORK))
        with world.open() as clients:
            course = world.trained(clients, NEEDS)
        others = [kept for kept in course.history if kept.clients != (1,)]
        models, _ = served(FedRecover(), [1], world, course)
        assert len(models) == len(others) < 9

    def test_rounding_is_no_displacement(self):
        weights = torch.linspace(1, 2, 6)
        assert not displacement(weights, weights * (1 + 1e-7)).any()
        torch.testing.assert_close(
            displacement(weights, weights * (1 + 1e-4)), -weights * 1e-4, rtol=0.01, atol=0
        )


def rounds_of(deltas, seed=0):
    """Return rounds [T, k, d] of clients 0 … k - 1, and models that nobody went to before."""
    models = torch.randn(
        len(deltas), deltas.shape[2], generator=torch.Generator().manual_seed(seed)
    )
    clients, examples = tuple(range(deltas.shape[1])), torch.ones(deltas.shape[1]).long()
    return tuple(
        Round(number, Updates(clients, rows, examples), len(clients), 0.1 * before)
        for number, (rows, before) in enumerate(zip(deltas, models, strict=True), start=1)
    )


class Noisy:
    """Clients whose updates have nothing to do with the model that they are sent."""

    work = LocalWork(optimizer=Sgd(lr=1.0))

    def __init__(self, d):
        self.d, self.calls = d, 0

    def train(self, weights, who, work=None, *, round):
        self.calls += len(who)
        rng = torch.Generator().manual_seed(round)
        deltas = torch.randn(len(who), self.d, generator=rng) / self.d**0.5
        return Updates(tuple(sorted(who)), deltas, torch.ones(len(who)).long())


class TestGuard:
    """Where curvature is noise, an estimate may be as large as tau in every coordinate."""

    def recovered(self, **limits):
        d, generator = 300, torch.Generator().manual_seed(1)
        deltas = torch.randn(40, 3, d, generator=generator) / d**0.5  # all of length 1
        deltas[5, 0, 0] = 30.0  # one large coordinate makes tau useless
        layout = Layout.of_tensors({"weight": torch.zeros(d)})
        history = History(layout, torch.zeros(d), torch.zeros(d), rounds_of(deltas))
        clients = Noisy(d)
        strategy = FedRecover(warmup=3, interval=9, tuning=0, **limits)
        models = list(strategy.unlearn(Request(frozenset({2}), 40), history, clients))
        path = torch.stack([history.initial, *models])
        return (path[1:] - path[:-1]).norm(dim=1), clients.calls

    def test_no_step_is_longer_than_stored_ones_by_more_than_the_ratio(self):
        guarded, fixes = self.recovered(max_ratio=2.0)
        assert guarded[6:].max() < 2.0 * 1.2
        assert guarded.isfinite().all()
        free, calls = self.recovered(max_ratio=1e30)
        assert free.max() > 20 * guarded[6:].max()
        assert calls < fixes < 2 * 40

    def test_who_is_too_large_in_one_coordinate_is_asked(self):
        kept = Updates((0, 1), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), torch.ones(2).long())
        away = torch.tensor([0.0, 0, 1])
        with Secants(1, 3) as seen:
            for client in (0, 1):
                seen.remember(client, 0, away, away)
            large = Estimator(seen, 1, away, lr=1.0, largest=1.0, max_ratio=2.0)
            both = large.normal(kept)
            assert both.clients == (0, 1)
            torch.testing.assert_close(both.deltas, kept.deltas - away)
            further = replace(large, displacement=1.5 * away)
            assert further.normal(kept).clients == ()  # |g| is in bounds, one is not
            loose = replace(further, largest=1.6)
            assert loose.normal(kept).clients == (0, 1)
            short = replace(loose, max_ratio=1.5)
            assert short.normal(kept).clients == ()
            assert torch.equal(kept.deltas[0], torch.tensor([1.0, 0, 0]))

    def test_what_is_not_finite_is_no_estimate(self):
        kept = Updates((0,), torch.ones(1, 2), torch.ones(1).long())
        with Secants(1, 2) as seen:
            seen.remember(0, 0, torch.ones(2), torch.ones(2))
            unknown = torch.tensor([torch.nan, 1])
            bad = Estimator(seen, 1, unknown, lr=1.0, largest=torch.inf, max_ratio=1e30)
            assert bad.normal(kept).clients == ()

    def test_an_estimate_that_was_wrong_teaches(self):
        """Whoever is asked is known better from then on, also between two corrections."""
        with Secants(1, 2) as seen:
            deltas = torch.tensor([[7.0, 7.0], [1.0, 1.0]])
            kept = Updates((0, 4), deltas, torch.ones(2).long())
            sent = Updates((4,), torch.tensor([[0.0, 1.0]]), torch.ones(1).long())
            away = torch.tensor([0.5, 0.0])
            Estimator(seen, 3, away, 0.1, largest=10.0, max_ratio=10.0).learn(kept, sent)
            assert seen.product(0, away) is None
            torch.testing.assert_close(seen.product(4, away), torch.tensor([10.0, 0.0]))


class TestBlocks:
    @pytest.mark.parametrize("size", [1, 2 * 4 * 6])
    def test_a_few_clients_at_a_time_give_the_same(self, monkeypatch, size):
        whole, calls = served(SPARSE, [1], LONG)
        monkeypatch.setattr(stored_rounds, "BYTES", size)
        parts, asked = served(SPARSE, [1], LONG)
        torch.testing.assert_close(parts[-1], whole[-1])
        assert asked == calls

    def test_no_block_is_larger_and_none_is_missing(self, monkeypatch):
        (stored,) = rounds_of(torch.randn(1, 5, 6))
        monkeypatch.setattr(stored_rounds, "BYTES", 2 * 4 * 6)
        found = [block.clients for block in stored_rounds.blocks(stored, 6)]
        assert found == [(0, 1), (2, 3), (4,)]
        torch.testing.assert_close(step_of(stored, 6), stored.updates.deltas.mean(0))

    def test_the_step_of_some_has_the_whole_cohort_below_the_line(self):
        (stored,) = rounds_of(torch.randn(1, 5, 6))
        found = step_of(stored.without({0, 1}), 6)
        torch.testing.assert_close(found, stored.updates.deltas[2:].sum(0) / 5)

    @pytest.mark.parametrize(("share", "rank"), [(0.0, 0), (0.1, 3), (0.5, 15), (0.034, 1)])
    def test_the_quantile_is_that_of_all_coordinates(self, monkeypatch, share, rank):
        (stored,) = rounds_of(torch.randn(1, 5, 6))
        ordered = stored.updates.deltas.abs().flatten().sort(descending=True).values
        assert quantile(stored, 6, share) == ordered[rank]
        monkeypatch.setattr(stored_rounds, "BYTES", 1)
        assert quantile(stored, 6, share) == ordered[rank]

    def test_the_store_is_left_as_it_was(self):
        with LONG.open() as clients:
            course = LONG.trained(clients, NEEDS)
        before = [kept.updates.deltas.clone() for kept in course.history]
        served(SPARSE, [1], LONG, course)
        for kept, rows in zip(course.history, before, strict=True):
            assert torch.equal(kept.updates.deltas, rows)


def test_a_client_who_fails_is_left_out_of_its_round():
    """Where failures are tolerated, the others' weights make up for it."""
    world = World(training=Training(rounds=3, tolerated_failures=1, work=WORK))
    with world.open() as clients:
        course = world.trained(clients, NEEDS)

    class Failing:
        def __init__(self, clients):
            self.clients, self.work = clients, clients.work

        def train(self, weights, who, *, round):
            return self.clients.train(weights, set(who) - {3}, round=round)

    with world.open() as clients:
        asked = Failing(without_leavers(clients, [0], NEEDS))
        models = list(FedRecover().unlearn(Request(frozenset({0}), 3), course.history, asked))
    torch.testing.assert_close(models[-1], world.formula([1, 2], 3))


def test_wrong_hyperparameters_are_refused():
    with pytest.raises(Refused, match=r"FedRecover\.warmup must be a whole number of at least 3"):
        FedRecover(warmup=2)
    for name, value in (
        *(("interval", 0), ("tuning", -1), ("memory", 0)),
        *(("tolerance", 1.0), ("max_ratio", 0.5)),
    ):
        with pytest.raises(Refused, match=f"FedRecover.{name}"):
            FedRecover(**{name: value})


def test_declares_what_it_reads():
    assert Needs(updates=True, models=True, remaining=True, complete=True) == NEEDS
