"""Bad teacher: who learns from whom, in closed form, and that the bad one knows nothing."""

from dataclasses import replace

import torch

from fedunlearn.history import Needs
from fedunlearn.local import Imitation, LocalWork, Sgd
from fedunlearn.unlearning import Request, redrawn
from strategies.bad_teacher import BadTeacher
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import World, without_leavers

ONE = LocalWork(1, 1000, optimizer=Sgd(0.1, momentum=0), objective=Imitation())
TAUGHT = BadTeacher(3, ONE, ONE)


def drawn(world, history, leavers):
    with world.open() as clients:
        rng = without_leavers(clients, leavers, TAUGHT.needs).rng(7)
    return redrawn(history.layout, history.final, torch.ones(6, dtype=torch.bool), rng)


def step(world, client, weights, teacher):
    """A step down KL is ``lr (p_b - p_w)``, whole: public code's is a class's share of it."""
    image = world.here.train[client].inputs[0].flatten()
    return 0.1 * ((teacher - image).softmax(0) - (weights - image).softmax(0))


def test_each_group_imitates_its_teacher_and_the_mean_is_by_records():
    world = World()
    models, history = curve(TAUGHT, [1, 2], world)
    good, bad = history.final, drawn(world, history, [1, 2])
    sizes, teachers = (10, 20, 30, 40), (good, bad, bad, good)
    weights = good
    for found in models:
        steps = [step(world, i, weights, teachers[i]) for i in range(4)]
        weights = weights + sum(n * each for n, each in zip(sizes, steps, strict=True)) / 100
        torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-6)


def test_who_imitates_itself_stays():
    """In the first round those who remain have nothing to learn; the leavers move all of it."""
    world = World()
    (found,), history = curve(replace(TAUGHT, rounds=1), [1], world)
    own = step(world, 1, history.final, drawn(world, history, [1]))
    torch.testing.assert_close(found, history.final + 0.2 * own, rtol=1e-4, atol=1e-6)


def test_the_bad_teacher_is_not_the_model_that_training_began_with():
    """That one may be pretrained. Nor is it ever the same for two requests."""
    world = World()
    found = []
    with world.open() as clients:
        course = world.trained(clients)
        for initial in (course.history.initial, torch.full((6,), 9.0)):
            history = replace(course.history, initial=initial)
            remaining = without_leavers(clients, [1], TAUGHT.needs)
            asked = Request(frozenset({1}), 6)
            found.append(list(TAUGHT.unlearn(asked, history, remaining))[-1])
    assert torch.equal(*found)
    assert not torch.equal(drawn(world, history, [1]), drawn(world, history, [2]))


def test_everybody_is_asked_in_every_round():
    assert asked_of_clients(TAUGHT) == 3 * 4
    assert TAUGHT.needs == Needs(remaining=True, leaver=True)
    assert BadTeacher().leaving.objective == BadTeacher().staying.objective == Imitation(1.0)
