"""SCRUB: both works written again, the teacher that stays, and the pass that has no slope."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import Blend, CrossEntropy, Imitation, LocalWork, Sgd
from strategies.scrub import Scrub
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import WORK, HalfSquare, World

PLAIN = LocalWork(3, 1000, optimizer=Sgd(0.1, momentum=0))
AWAY = replace(PLAIN, objective=Blend((Imitation(2.0),), (-1.0,)))
NEAR = replace(PLAIN, objective=Blend((CrossEntropy(), Imitation(2.0)), (0.9, 0.5)))
BOTH = Scrub(rounds=3, passes=2, leaving=AWAY, staying=NEAR)


def divergence(teacher, student):
    """``tau^2 KL`` of one record at tau = 2, from logits."""
    logs = functional.log_softmax(student / 2, dim=0)
    return 4 * functional.kl_div(logs, (teacher / 2).softmax(0), reduction="sum")


def update(world, client, weights, loss):
    """What a client sends after three steps down ``loss`` of its logits and its label."""
    image = world.here.train[client].inputs[0].flatten().double()
    leaf = weights.clone().requires_grad_()
    for _ in range(3):
        (slope,) = torch.autograd.grad(loss(leaf - image, client, image), leaf)
        leaf = (leaf - 0.1 * slope).detach().requires_grad_()
    return leaf.detach() - weights


def mean(world, clients, weights, loss):
    sizes = torch.tensor([len(world.here.train[i]) for i in clients], dtype=torch.float64)
    each = torch.stack([update(world, i, weights, loss) for i in clients])
    return (sizes / sizes.sum()) @ each


def test_the_rounds_follow_their_equations_and_the_teacher_stays():
    """Two leavers of other sizes; in every round what is imitated is the trained model."""
    world = World()
    models, history = curve(BOTH, [1, 2], world)
    old = weights = history.final.double()

    def away(logits, label, image):
        return -divergence(old - image, logits)

    def near(logits, label, image):
        entropy = functional.cross_entropy(logits[None], torch.tensor([label]))
        return 0.9 * entropy + 0.5 * divergence(old - image, logits)

    for number, found in enumerate(models):
        if number < 2:
            weights = weights + mean(world, [1, 2], weights, away)
        weights = weights + mean(world, [0, 3], weights, near)
        torch.testing.assert_close(found, weights.float(), rtol=1e-4, atol=1e-5)
    assert len(models) == 3


def test_the_first_pass_has_no_slope():
    """Where the model is its own teacher, the divergence is least."""
    (found,), _ = curve(replace(BOTH, rounds=1, passes=1), [1])
    (without,), _ = curve(replace(BOTH, rounds=1, passes=0), [1])
    torch.testing.assert_close(found, without, rtol=0, atol=1e-6)
    led = replace(AWAY, optimizer=Sgd(0.1, momentum=0, weight_decay=0.1))
    (decayed,), _ = curve(replace(BOTH, rounds=1, passes=1, leaving=led), [1])
    assert not torch.allclose(decayed, without, rtol=0, atol=1e-3)


def test_a_pass_drives_the_model_from_what_it_said_of_the_leavers_records():
    world = World()
    said = []
    for passes in (0, 2):
        models, history = curve(replace(BOTH, passes=passes), [1], world)
        image = world.here.train[1].inputs[0].flatten()
        said.append(float(divergence(history.final - image, models[-1] - image)))
    assert said[1] > said[0]


def test_without_passes_and_divergence_it_is_fine_tuning():
    staying = replace(WORK, objective=Blend((HalfSquare(), Imitation()), (1.0, 0.0)))
    world = World()
    models, history = curve(Scrub(2, 0, staying=staying), [1], world)
    expected = world.formula([0, 2, 3], 2, history.final)
    torch.testing.assert_close(models[-1], expected, rtol=1e-4, atol=1e-5)


def test_who_is_asked_how_often():
    assert asked_of_clients(BOTH) == 3 * 3 + 2
    assert asked_of_clients(replace(BOTH, passes=0)) == 3 * 3
    assert BOTH.needs == Needs(remaining=True, leaver=True)
    assert replace(BOTH, passes=0).needs == Needs(remaining=True)


def test_what_drives_away_is_clipped():
    assert Scrub().leaving.clip_norm is not None


def test_more_passes_than_rounds_are_refused():
    with pytest.raises(Refused, match=r"Scrub\.passes must be at most rounds=2"):
        Scrub(rounds=2, passes=3)
