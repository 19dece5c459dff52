"""Where clients drop out, every strategy still serves a request, also after rounds of nobody."""

from dataclasses import replace

import pytest

from fedunlearn.simulations import docs_tables
from fedunlearn.unlearning import NoRecovery, Plain, Projected, Training, forget, train
from strategies.fast_fedul import FastFedUL
from tests.support.world import WORK, World, finish

WORLD = World(training=Training(rounds=8, work=WORK, dropout=0.7))
NAMES = [name for name in docs_tables.singles() if name != "ridge_head"]  # that needs a linear head


@pytest.fixture(scope="module")
def clients():
    with WORLD.open() as clients:
        yield clients


@pytest.mark.parametrize("recovery", [Plain(4), Projected(4)], ids=["plain", "projected"])
@pytest.mark.parametrize("name", NAMES)
def test_models_stay_finite(clients, name, recovery):
    method = docs_tables.strategy(name)
    course = finish(train(WORLD.start, clients, 8, method.needs))
    steps = forget(course, {1}, method, recovery, clients, method.needs)
    assert all(step.weights.isfinite().all() for step in steps)


def test_rounds_of_nobody_are_among_them_and_change_nothing(clients):
    needs = FastFedUL().needs
    course = finish(train(WORLD.start, clients, 8, needs))
    assert not all(stored.clients for stored in course.history)
    heard = tuple(stored for stored in course.history if stored.clients)
    without = replace(course, history=replace(course.history, rounds=heard))
    models = [
        finish(forget(state, {1}, FastFedUL(), NoRecovery(), clients, needs)).history.final
        for state in (course, without)
    ]
    assert models[0].equal(models[1])
    assert not models[0].equal(course.history.final)
