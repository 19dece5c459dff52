"""PUF against its closed form in the quadratic world."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs, Updates
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.unlearning import Ledger, NoRecovery, Request, Training, cohort, forget, train
from strategies.puf import ETAS, Puf
from tests.support.unlearned import Mirrored, curve
from tests.support.world import RATE, WORK, Scaled, World, finish, without_leavers

MODES = [Puf(mode=mode) for mode in ETAS]


def updates(world, weights, epochs):
    """Return everybody's update from ``weights``, [clients, d] float64, and their records [k]."""
    targets = torch.stack([held.inputs[0].flatten() for held in world.here.train]).double()
    shrink = (1 - RATE) ** epochs
    records = torch.tensor([len(held) for held in world.here.train]).double()
    return (1 - shrink) * (targets - weights.double()), records


def expected(world, weights, leavers, others, eta, epochs=1):
    """Return what the method's equation says, by sums over clients."""
    gone, records = updates(world, weights, epochs)
    ordinary, _ = updates(world, weights, WORK.epochs)
    step = sum(records[k] * ordinary[k] for k in others)
    step = step - eta * sum(records[u] * gone[u] for u in leavers)
    return (weights.double() + step / sum(records[i] for i in {*others, *leavers})).float()


@pytest.mark.parametrize("leavers", [[1], [0, 3]], ids=str)
@pytest.mark.parametrize(("mode", "eta"), [("regular", 20), ("special", 2)])
def test_is_its_equation_with_the_authors_eta(mode, eta, leavers):
    world = World()
    models, history = curve(Puf(mode=mode), leavers, world)
    others = sorted({0, 1, 2, 3} - set(leavers)) if mode == "regular" else []
    (found,) = models
    torch.testing.assert_close(found, expected(world, history.final, leavers, others, eta))
    assert (found - history.final).norm() > 1e-2


def test_eta_and_epochs_of_one_s_own():
    world = World()
    (found,), history = curve(Puf(mode="regular", eta=3.5, epochs=2), [2], world)
    wanted = expected(world, history.final, [2], [0, 1, 3], 3.5, epochs=2)
    torch.testing.assert_close(found, wanted)


def test_special_is_the_opposite_of_the_leaver_s_own_training():
    world = World()
    (found,), history = curve(Puf(mode="special", eta=1.0), [2], world)
    there = world.formula([2], 1, weights=history.final, epochs=1)
    torch.testing.assert_close(history.final - found, there - history.final)


def test_a_regular_round_asks_the_cohort_of_the_next_round():
    world = World(sizes=(10, 20, 30, 40, 50), training=Training(rounds=5, cohort=0.4, work=WORK))
    (found,), history = curve(Puf(mode="regular", eta=2.0), [1], world)
    others = cohort({0, 2, 3, 4}, 2, world.seed, 6)
    assert len(others) == 2
    torch.testing.assert_close(found, expected(world, history.final, [1], others, 2.0))


@pytest.mark.parametrize("strategy", MODES, ids=lambda s: s.mode)
def test_costs_one_message_each_way_for_whoever_works(strategy):
    world, ledger = World(), Ledger()
    with world.open() as clients:
        course = world.trained(clients)
        asked = replace(without_leavers(clients, [2], strategy.needs), ledger=ledger)
        list(strategy.unlearn(Request(frozenset({2}), 6), course.history, asked))
    records = [len(held) for held in world.here.train]
    found = {charge.client: charge.samples for charge in ledger}
    wanted = {2: records[2]}
    if strategy.mode == "regular":
        wanted |= {k: records[k] * WORK.epochs for k in (0, 1, 3)}
    assert found == wanted
    assert ledger.messages == 2 * len(wanted)


@pytest.mark.parametrize("strategy", MODES, ids=lambda s: s.mode)
def test_two_requests_in_sequence_are_the_equation_twice(strategy):
    world = World()
    eta = ETAS[strategy.mode]
    with world.open() as clients:
        course = world.trained(clients, Needs())
        weights = course.history.final
        for leaver, others in ((1, [0, 2, 3]), (2, [0, 3])):
            asked = others if strategy.mode == "regular" else []
            weights = expected(world, weights, [leaver], asked, eta)
            course = finish(
                forget(course, frozenset({leaver}), strategy, NoRecovery(), clients, Needs())
            )
            torch.testing.assert_close(course.history.final, weights, rtol=1e-4, atol=1e-4)
        assert course.present == {0, 3}
        finish(train(course, clients, 7, Needs()))


@pytest.mark.parametrize("strategy", MODES, ids=lambda s: s.mode)
def test_relabelling_the_clients_changes_nothing(strategy):
    there = curve(strategy, [1], World())[0][-1]
    here = curve(strategy, [2], Mirrored())[0][-1]
    start, mirrored = World().start.history.initial, Mirrored().start.history.initial
    torch.testing.assert_close(here - mirrored, there - start)


def test_a_buffer_stays_as_it_came():
    """Public code steps back along the running statistics of normalisation layers as well."""

    class Buffered(World):
        @property
        def scenario(self):
            return replace(super().scenario, model=lambda shape, classes: Offsets())

    class Offsets(Scaled):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 6)
            self.register_buffer("scale", torch.full((6,), 2.0))

    world = Buffered()
    initial = world.here.network.initial(0)
    with world.open() as clients:
        asked = without_leavers(clients, [1], Puf().needs)
        history = replace(world.start.history, layout=world.here.network.layout, final=initial)
        (found,) = Puf(eta=50.0).unlearn(Request(frozenset({1}), 0), history, asked)
    named = world.here.network.layout.named(found)
    assert torch.equal(named["scale"], torch.full((6,), 2.0))
    assert not torch.equal(found, initial)


def test_other_work_than_the_number_of_epochs_is_the_ordinary_one():
    work = LocalWork(epochs=4, batch_size=3, optimizer=Sgd(lr=0.01, momentum=0.5))
    seen = []

    class Spy:
        def __init__(self):
            self.work, self.leavers = work, self

        def train(self, weights, who=None, work=None, *, round):
            seen.append((who, work, round))
            return Updates((3,), torch.zeros(1, len(weights)), torch.tensor([5]))

    next(Puf(mode="special").unlearn(Request(frozenset({3}), 9), World().start.history, Spy()))
    assert seen == [(frozenset({3}), replace(work, epochs=1), 10)]


def test_declares_whom_it_asks():
    assert Puf(mode="regular").needs == Needs(leaver=True, remaining=True)
    assert Puf(mode="special").needs == Needs(leaver=True)
    assert Puf().length(Request(frozenset({1}), 3)) == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"mode": "specail"}, r"Puf\.mode=specail does not exist; did you mean special\?"),
        ({"eta": 0}, r"Puf\.eta must be a number above 0"),
        ({"epochs": 0}, r"Puf\.epochs must be a whole number"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, sentence):
    with pytest.raises(Refused, match=sentence):
        Puf(**wrong)
