"""PGA in closed form: in the world of tests/support ascent leads straight away from a target."""

from dataclasses import dataclass, replace

import pytest
import torch
from hydra import compose, initialize_config_dir

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.simulations import configured, guard
from fedunlearn.unlearning import Ledger, Plain, Request, Training, forget, train
from strategies.pga import PGA
from tests.support.unlearned import Mirrored, curve
from tests.support.world import RATE, WORK, HalfSquare, World, finish, without_leavers


@dataclass(frozen=True)
class Climb:
    """Half the square upside down."""

    def __call__(self, network, weights, images, labels, sent):
        return -HalfSquare()(network, weights, images, labels, sent)


ASCENT = LocalWork(4, 1000, optimizer=Sgd(RATE, momentum=0), objective=Climb())
FREE = PGA(radius=1e6, stop=1e6, work=ASCENT)


def target(world, client):
    return world.here.train[client].inputs[0].flatten()


def ascended(world, history, reference, leaver, kept, strategy):
    """The paper's loop, written again; all lengths are plain."""
    deltas = kept.updates.deltas.double()
    share = kept.updates.examples.double() / kept.updates.examples.sum()
    here = kept.updates.clients.index(leaver)
    own = history.final.double() - share @ deltas + deltas[here]
    radius = strategy.radius * (reference - history.initial.double()).norm()
    far = strategy.stop * (reference - own).norm()
    weights = reference.clone()
    for _ in range(strategy.work.epochs):
        weights = weights + RATE * (weights - target(world, leaver).double())
        away = (weights - reference).norm()
        if away > radius:
            weights = reference + radius * (weights - reference) / away
        if (weights - own).norm() > far:
            break
    return weights


def others_of_the_last_round(world, history, rest):
    """The average of those who remain, of the models that they trained in the last round."""
    return world.formula(rest, 1, weights=history[-1].before).double()


class TestTheAscent:
    @pytest.mark.parametrize(
        "strategy",
        [
            FREE,
            replace(FREE, radius=0.05),  # ends on the sphere
            replace(FREE, stop=1.3),  # ends after some batches
            replace(FREE, radius=0.02, stop=1.3),
        ],
        ids=["free", "sphere", "stop", "both"],
    )
    def test_follows_its_equations(self, strategy):
        world = World()
        with world.open() as clients:
            course = world.trained(clients)
        models, history = curve(strategy, [1], world, course)
        reference = others_of_the_last_round(world, course.history, [0, 2, 3])
        expected = ascended(world, history, reference, 1, history[-1], strategy)
        (found,) = models
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)

    def test_the_cases_above_end_in_different_ways(self):
        ends = [
            curve(strategy, [1])[0][0]
            for strategy in (FREE, replace(FREE, radius=0.05), replace(FREE, stop=1.3))
        ]
        assert not torch.allclose(ends[0], ends[1], atol=1e-2)
        assert not torch.allclose(ends[0], ends[2], atol=1e-2)
        assert not torch.allclose(ends[1], ends[2], atol=1e-2)

    def test_the_reference_is_the_papers(self):
        """w_ref = (w_T - p w_u) / (1 - p), with w_u as the leaver sent it; radius 0 stays there."""
        models, _ = curve(replace(FREE, radius=1e-9), [1])
        with (world := World()).open() as clients:
            course = world.trained(clients)
        last = course.history[-1]
        own = last.before + last.updates.deltas[1]
        expected = (course.history.final - 0.2 * own) / 0.8  # 20 of 100 records
        torch.testing.assert_close(models[0], expected)

    def test_the_radius_is_a_plain_length(self):
        """Public code squares: with 0.05 in place of 0.05^2, or its root, it ends elsewhere."""
        world = World()
        with world.open() as clients:
            course = world.trained(clients)
        reference = others_of_the_last_round(world, course.history, [0, 2, 3])
        way = (reference - course.history.initial.double()).norm()
        for radius in (0.02, 0.08):
            (found,), _ = curve(replace(FREE, radius=radius), [1], world, course)
            length = (found.double() - reference).norm()
            torch.testing.assert_close(length, radius * way, rtol=1e-3, atol=0)

    def test_several_leavers_ascend_from_one_reference_and_meet_in_the_mean(self):
        world, strategy = World(), replace(FREE, stop=1.3)
        with world.open() as clients:
            course = world.trained(clients)
        (found,), history = curve(strategy, [1, 2], world, course)
        reference = others_of_the_last_round(world, course.history, [0, 3])
        ends = [
            ascended(world, history, reference, leaver, history[-1], strategy) for leaver in (1, 2)
        ]
        expected = (20 * ends[0] + 30 * ends[1]) / 50
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)

    def test_relabelling_the_clients_changes_nothing(self):
        here, there = curve(FREE, [1, 3])[0][0], curve(FREE, [2, 0], Mirrored())[0][0]
        torch.testing.assert_close(here, there)


class TestPartialParticipation:
    world = World(training=Training(rounds=5, cohort=0.5, work=WORK), seed=27)

    def trained(self, present=frozenset(range(4))):
        with self.world.open() as clients:
            course = replace(self.world.start, present=present)
            steps = train(course, clients, 5, Needs(updates=True, models=True))
            return replace(finish(steps), present=frozenset(range(4)))

    def test_the_last_round_of_each_counts(self):
        course = self.trained()
        cohorts = [set(kept.clients) for kept in course.history]
        assert cohorts == [{0, 2}, {0, 2}, {0, 1}, {0, 3}, {2, 3}]
        leavers, last = {1, 3}, {1: 2, 3: 4}
        (found,), history = curve(FREE, leavers, self.world, course)
        reference = history.final.double()
        for number in last.values():
            kept = history[number].updates
            rest = kept.without(leavers)
            for updates, sign in ((rest, 1), (kept, -1)):
                share = updates.examples.double() / updates.examples.sum()
                reference = reference + sign * share @ updates.deltas.double()
        sizes = self.world.sizes
        ends = sum(
            sizes[u] * ascended(self.world, history, reference, u, history[last[u]], FREE)
            for u in leavers
        )
        expected = ends / sum(sizes[u] for u in leavers)
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)

    def test_a_round_of_leavers_only_is_passed_over(self):
        course = self.trained()
        *_, before, last = (kept for kept in course.history if 3 in kept.clients)
        others = set(last.clients) - {3}
        rounds = tuple(
            kept.without(others) if kept.number == last.number else kept for kept in course.history
        )
        alone = replace(course, history=replace(course.history, rounds=rounds))
        short = tuple(kept for kept in course.history if kept.number <= before.number)
        without = replace(course, history=replace(course.history, rounds=short))
        found, _ = curve(FREE, [3], self.world, alone)
        expected, _ = curve(FREE, [3], self.world, without)
        assert torch.equal(found[0], expected[0])
        assert not torch.allclose(found[0], curve(FREE, [3], self.world, course)[0][0])

    def test_a_leaver_who_never_took_part_is_not_asked_and_changes_nothing(self):
        course = self.trained(frozenset({0, 1, 2}))
        ledger = Ledger()
        with self.world.open(ledger) as clients:
            remaining = without_leavers(clients, [3], FREE.needs)
            request = Request(frozenset({3}), 5)
            (found,) = FREE.unlearn(request, course.history, remaining)
        assert torch.equal(found, course.history.final)
        assert len(ledger.charges) == 0
        (together,), _ = curve(FREE, [1, 3], self.world, course)
        (one,), _ = curve(FREE, [1], self.world, course)
        torch.testing.assert_close(together, one)


def test_a_second_request_starts_from_the_rounds_of_the_first_recovery():
    world, needs = World(), Needs(updates=True, models=True)
    with world.open() as clients:
        course = world.trained(clients)
        course = finish(forget(course, frozenset({0}), FREE, Plain(2), clients, needs))
        (start, found, *_) = list(forget(course, frozenset({1}), FREE, Plain(1), clients, needs))
    assert torch.equal(start.weights, course.history.final)
    kept = course.history[-1]
    assert kept.number == 8
    assert kept.clients == (1, 2, 3)
    reference = others_of_the_last_round(world, course.history, [2, 3])
    expected = ascended(world, course.history, reference, 1, kept, FREE)
    torch.testing.assert_close(found.weights, expected.float(), rtol=1e-4, atol=1e-5)


def test_only_the_leaver_is_charged_for_two_models_down_and_one_up():
    world, ledger = World(), Ledger()
    with world.open() as clients:
        course = world.trained(clients)
        asked = replace(without_leavers(clients, [2], FREE.needs), ledger=ledger)
        list(FREE.unlearn(Request(frozenset({2}), 6), course.history, asked))
    (charge,) = ledger
    size = course.history.final.nbytes
    assert charge.client == 2
    assert (charge.bytes_down, charge.bytes_up) == (2 * size, size)
    assert FREE.length(Request(frozenset({2}), 6)) == 1


@pytest.mark.parametrize(
    ("strategy", "epochs"),
    [(FREE, 4), (replace(FREE, stop=1e-6), 1), (replace(FREE, stop=1.3), None)],
    ids=["free", "at once", "early"],
)
def test_a_leaver_is_charged_for_the_batches_that_it_took(strategy, epochs):
    """A batch holds all records here, so the paper's loop counts epochs."""
    world, ledger = World(), Ledger()
    with world.open() as clients:
        course = world.trained(clients)
        asked = replace(without_leavers(clients, [2], FREE.needs), ledger=ledger)
        list(strategy.unlearn(Request(frozenset({2}), 6), course.history, asked))
    if epochs is None:
        reference = others_of_the_last_round(world, course.history, [0, 1, 3])
        ends = [
            ascended(world, course.history, reference, 2, course.history[-1], shorter)
            for shorter in (replace(strategy, work=replace(ASCENT, epochs=n)) for n in range(1, 5))
        ]
        epochs = sum(not torch.equal(end, ends[-1]) for end in ends) + 1
        assert 1 < epochs < 4
    assert [charge.samples for charge in ledger] == [epochs * len(world.here.train[2])]


@pytest.mark.parametrize("field", ["radius", "stop"])
@pytest.mark.parametrize("value", [0, -1, "far"])
def test_wrong_lengths_are_refused(field, value):
    with pytest.raises(Refused, match=rf"PGA\.{field} must be a number above 0"):
        PGA(**{field: value})


@pytest.mark.parametrize("name", ["pga", "fedosd", "mode"])
def test_a_leaver_who_is_gone_is_a_reason_to_refuse_before_training(name):
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", [f"strategy={name}", "withdrawal.cooperates=false"])
        with pytest.raises(Refused, match=rf"strategy={name} lets those who leave work once more"):
            configured.experiment(cfg, {name: cfg.strategy})
        cfg = compose("config", [f"strategy={name}"])
        assert configured.experiment(cfg, {name: cfg.strategy}).needs.leaver
