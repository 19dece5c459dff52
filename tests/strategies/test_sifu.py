"""SIFU's bound, its rollback and its noise, against counterfactual rounds written out."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.history import History, Round, Updates
from fedunlearn.methods import increment, stored_rounds
from fedunlearn.methods.gaussian_mechanism import analytic_delta
from fedunlearn.models import Layout, mean
from fedunlearn.unlearning import NoRecovery, Request, Training, forget, train
from strategies.retrain import Retrain
from strategies.sifu import Sifu
from tests.support.unlearned import curve
from tests.support.world import WORK, World, finish, without_leavers

NEEDS = Sifu().needs
SOME = World(sizes=(10, 20, 30, 40, 50, 60), training=Training(rounds=8, cohort=0.5, work=WORK))


def trained(world):
    with world.open() as clients:
        return world.trained(clients, NEEDS)


def hiding(bound):
    """Return a SIFU whose noise hides just so much."""
    unit = Sifu(sigma=1.0)
    return replace(unit, sigma=bound / unit.budget)


def counterfactual(stored, leavers):
    """Return |Delta(I, w) - Delta(I without the leavers, w)| of one round, from its rows."""
    everybody, rest = stored.updates, stored.updates.without(leavers)
    there, here = (mean(u.deltas, u.examples) for u in (everybody, rest))
    return float((there - here).norm())


class TestBudget:
    def test_is_the_paper_s_by_its_own_formula(self):
        paper = Sifu(epsilon=10, delta=0.01, sigma=0.05, mechanism="classical")
        assert paper.budget == pytest.approx(0.1609, abs=5e-5)
        assert paper.budget == pytest.approx(10 * 0.05 / math.sqrt(2 * math.log(1.25 / 0.01)))

    def test_by_default_the_guarantee_holds_and_the_paper_s_formula_breaks_it(self):
        default, paper = Sifu(), Sifu(mechanism="classical")
        assert analytic_delta(default.budget, 0.05, 10) == pytest.approx(0.01, rel=1e-6)
        assert analytic_delta(paper.budget, 0.05, 10) > 0.04


class TestIncrement:
    @pytest.mark.parametrize("leavers", [{1}, {0, 3}])
    @pytest.mark.parametrize("world", [World(), SOME], ids=["full", "partial"])
    def test_is_how_far_each_round_would_have_ended_elsewhere(self, world, leavers):
        history = trained(world).history
        found = [increment(history, place, leavers) for place in range(len(history))]
        wanted = [
            counterfactual(kept, leavers) if leavers & set(kept.clients) else 0.0
            for kept in history
        ]
        assert found == pytest.approx(wanted, rel=1e-4)
        assert max(wanted) > 0

    def test_is_p_over_one_minus_p_times_the_distance_to_the_next_model(self):
        """With p the share of the cohort; public code takes that of the whole federation."""
        history = trained(SOME).history
        place = next(place for place, kept in enumerate(history) if 1 in kept.clients)
        kept = history[place]
        own = kept.updates.only({1})
        share = float(own.examples.sum()) / kept.cohort_examples
        after = kept.before + mean(kept.updates.deltas, kept.updates.examples)
        distance = (kept.before + own.deltas[0] - after).norm()
        expected = share / (1 - share) * float(distance)
        assert increment(history, place, {1}) == pytest.approx(expected, rel=1e-4)

    def test_two_who_are_alike_count_about_twice_and_not_as_one(self):
        """Public code takes the larger one of the two."""
        deltas = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
        updates = Updates((0, 1, 2, 3), deltas, torch.tensor([5, 5, 5, 5]))
        round_ = Round(1, updates, 20, torch.zeros(2))
        history = History(Layout(()), torch.zeros(2), torch.zeros(2), (round_,))
        history = replace(history, layout=LAYOUT_OF_TWO)
        assert increment(history, 0, {0}) == pytest.approx(1 / 3 * 0.5)
        assert increment(history, 0, {0, 1}) == pytest.approx(1.0 * 0.5)

    def test_is_infinite_where_nobody_else_took_part(self):
        updates = Updates((0, 1), torch.zeros(2, 2), torch.tensor([5, 5]))
        history = History(
            LAYOUT_OF_TWO, torch.zeros(2), torch.zeros(2), (Round(1, updates, 10, torch.zeros(2)),)
        )
        assert increment(history, 0, {0, 1}) == math.inf
        assert hiding(1e9).bounds(history, {0, 1}) == [0, math.inf]

    def test_a_few_clients_at_a_time_give_the_same(self, monkeypatch):
        history = trained(World()).history
        whole = increment(history, 2, {1, 2})
        monkeypatch.setattr(stored_rounds, "BYTES", 1)
        assert increment(history, 2, {1, 2}) == pytest.approx(whole, rel=1e-5)

    def test_bounds_add_up_and_fade_by_the_round(self):
        history = trained(World()).history
        terms = [counterfactual(kept, {1}) for kept in history]
        assert Sifu().bounds(history, {1}) == pytest.approx([0, *np.cumsum(terms)], rel=1e-4)
        faded = [sum(0.5 ** (n - 1 - t) * terms[t] for t in range(n)) for n in range(7)]
        assert Sifu(decay=0.5).bounds(history, {1}) == pytest.approx(faded, rel=1e-4)


LAYOUT_OF_TWO = Layout.of_tensors({"weight": torch.zeros(2)})


class TestUnlearn:
    def test_goes_back_to_the_last_model_below_the_bound_adds_noise_and_trains_on(self):
        world = World()
        course = trained(world)
        bounds = Sifu().bounds(course.history, {1})
        strategy = hiding((bounds[2] + bounds[3]) / 2)
        models, history = curve(strategy, [1], world, course)
        assert len(models) == 1 + (6 - 2)
        with world.open() as clients:
            noise = without_leavers(clients, {1}).rng(1).normal(scale=strategy.sigma, size=6)
        start = history[2].before + torch.from_numpy(noise).float()
        torch.testing.assert_close(models[0], start)
        for number, weights in enumerate(models[1:], start=1):
            torch.testing.assert_close(weights, world.formula([0, 2, 3], number, weights=start))

    def test_a_bound_that_is_just_reached_is_hidden(self):
        world = World()
        course = trained(world)
        bounds = Sifu().bounds(course.history, {1})
        models, _ = curve(hiding(bounds[3] * (1 + 1e-9)), [1], world, course)
        assert len(models) == 1 + (6 - 3)

    def test_noise_alone_where_it_hides_all(self):
        world = World()
        course = trained(world)
        strategy = hiding(Sifu().bounds(course.history, {1})[-1] * 1.01)
        models, history = curve(strategy, [1], world, course)
        assert len(models) == 1
        assert float((models[0] - history.final).std()) > strategy.sigma / 10

    def test_noise_that_hides_nothing_leaves_retraining(self):
        world = World()
        models, history = curve(hiding(1e-9), [1], world)
        retrained, _ = curve(Retrain(), [1], world)
        assert torch.equal(models[0], history.initial)
        assert torch.equal(models[-1], retrained[-1])

    def test_a_leaver_who_never_took_part_changes_nothing(self):
        course = replace(SOME.start, present=frozenset(range(5)))
        with SOME.open() as clients:
            course = finish(train(course, clients, 8, NEEDS))
            course = replace(course, present=frozenset(range(6)))
            charged = len(clients.ledger.charges)
            after = finish(forget(course, frozenset({5}), Sifu(), NoRecovery(), clients, NEEDS))
            assert len(clients.ledger.charges) == charged
        assert torch.equal(after.history.final, course.history.final)
        assert curve(Sifu(), [5], SOME, course)[0] == []

    def test_a_round_of_leavers_alone_is_always_run_again(self):
        world = World(sizes=(10, 20, 30), training=Training(rounds=6, cohort=0.34, work=WORK))
        course = trained(world)
        alone = course.history[3].clients
        models, history = curve(hiding(1e9), alone, world, course)
        first = next(kept.number for kept in history if kept.clients == alone)
        assert len(models) == 1 + 6 - first + 1
        assert torch.equal(models[0], history[first - 1].before)  # nothing of theirs is in it

    def test_noise_stays_off_the_buffers_and_off_the_stored_models(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.zeros(3))
                self.register_buffer("scale", torch.ones(2))

        class Alone:
            def rng(self, round):
                return np.random.default_rng(round)

            def rounds(self, weights, first, last):
                yield from ()

        updates = Updates(
            (0, 1), torch.ones(2, 5) * torch.tensor([[1.0], [2]]), torch.ones(2).long()
        )
        rounds = (Round(1, updates, 2, torch.zeros(5)),)
        final = torch.full((5,), 7.0)
        history = History(Layout.of(Net()), torch.zeros(5), final, rounds)
        (model,) = hiding(1e9).unlearn(Request(frozenset({0}), 1), history, Alone())
        assert torch.equal(model[3:], torch.full((2,), 7.0))
        assert not (model[:3] == 7).any()
        assert torch.equal(final, torch.full((5,), 7.0))

    def test_an_expansion_that_is_known_may_be_stated_and_never_lowers_the_bound(self):
        """Psi <- a Psi + increment: a net's rounds may drive models apart, with a above 1."""
        with World().open() as clients:
            history = World().trained(clients, Sifu().needs).history
        plain, expanding = Sifu(), Sifu(decay=1.5)
        once = plain.bounds(history, frozenset({1}))
        more = expanding.bounds(history, frozenset({1}))
        steps = [after - before for before, after in pairwise(once)]
        for place in range(len(steps)):
            assert more[place + 1] == pytest.approx(1.5 * more[place] + steps[place])
        assert more[-1] > once[-1]

    def test_wrong_hyperparameters_are_refused(self):
        for wrong in ({"epsilon": 0}, {"delta": 1}, {"sigma": 0}, {"decay": 0}):
            with pytest.raises(Refused, match=f"Sifu.{next(iter(wrong))}"):
                Sifu(**wrong)
        with pytest.raises(Refused, match="did you mean analytic"):
            Sifu(mechanism="analytical")


class TestSequence:
    """Client 1 leaves, then client 2: the second bound is that of the path that is left."""

    def served(self, world, strategy, clients, course, leaver):
        return finish(
            forget(course, frozenset({leaver}), strategy, NoRecovery(), clients, strategy.needs)
        )

    def setup_method(self):
        self.world = World()
        original = trained(self.world)
        bounds = Sifu().bounds(original.history, {1})
        self.original, self.kept = original.history, 3
        self.strategy = hiding((bounds[3] + bounds[4]) / 2)
        with self.world.open() as clients:
            self.first = self.served(self.world, self.strategy, clients, original, 1)
            self.second = self.served(self.world, self.strategy, clients, self.first, 2)

    def test_the_stored_rounds_are_the_path_to_the_present_model(self):
        path = self.first.history
        assert [kept.number for kept in path] == [1, 2, 3, 4, 5, 6]
        for place in range(self.kept, 6):
            after = path[place + 1].before if place < 5 else path.final
            updates = path[place].updates
            torch.testing.assert_close(
                after, path[place].before + mean(updates.deltas, updates.examples)
            )
            assert updates.clients == (0, 2, 3)

    def test_old_rounds_count_as_they_were_and_new_ones_as_they_are_now(self):
        """The first leaver's rows are gone from the rounds that stayed."""
        path = self.first.history
        found = [increment(path, place, {2}) for place in range(6)]
        old = [counterfactual(kept, {2}) for kept in self.original]
        new = [counterfactual(kept, {2}) for kept in path]
        assert found[:2] == pytest.approx(old[:2], rel=1e-4)
        assert found[3:] == pytest.approx(new[3:], rel=1e-4)
        assert not np.allclose(old[:2], new[:2], rtol=1e-2)

    def test_noise_before_the_next_round_counts_as_distance(self):
        path = self.first.history
        seen = self.original[2].updates.only({2})
        share = float(seen.examples.sum()) / path[2].cohort_examples
        noisy = path[3].before - path[2].before
        expected = share / (1 - share) * float((seen.deltas[0] - noisy).norm())
        assert increment(path, 2, {2}) == pytest.approx(expected, rel=1e-4)
        assert expected > counterfactual(self.original[2], {2})

    def test_the_second_request_starts_where_the_whole_path_is_below_the_bound(self):
        bounds = self.strategy.bounds(self.first.history, {2})
        places = [place for place, bound in enumerate(bounds) if bound <= self.strategy.budget]
        assert 0 < max(places) < 6
        path = self.second.history
        assert [kept.number for kept in path] == [1, 2, 3, 4, 5, 6]
        cohorts = [kept.clients for kept in path]
        assert cohorts == [(0, 3)] * 6
        for place in range(max(places) + 1):
            same = torch.equal(path[place].before, self.first.history[place].before)
            assert same == (place < max(places))
        with self.world.open() as clients:
            noise = without_leavers(clients, {2}).rng(1)
        noise = noise.normal(scale=self.strategy.sigma, size=6)
        start = self.first.history[max(places)].before + torch.from_numpy(noise).float()
        torch.testing.assert_close(path[max(places)].before, start)
        assert self.second.present == {0, 3}

    def test_without_a_bound_to_spend_both_are_retrained(self):
        with self.world.open() as clients:
            course = self.world.trained(clients, NEEDS)
            for leaver in (1, 2):
                course = self.served(self.world, hiding(1e-9), clients, course, leaver)
        torch.testing.assert_close(course.history.final, self.world.formula([0, 3], 6))
