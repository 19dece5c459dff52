"""Fanchuan: the contrast by hand, what is sent for it, and both works in turn."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from fedunlearn.checks import Refused
from fedunlearn.flower import encode
from fedunlearn.flower.messages import decode
from fedunlearn.history import Needs
from fedunlearn.local import Contrast, CrossEntropy, Indifference, LocalWork, Sgd
from strategies.fanchuan import Fanchuan
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import World

PLAIN = LocalWork(3, 1000, optimizer=Sgd(0.1, momentum=0))
SILENCE = replace(PLAIN, objective=Indifference())
TWO = Fanchuan(2, SILENCE, replace(PLAIN, objective=Contrast(2.0)))


class TestContrast:
    def loss(self, logits, prototypes, temperature=1.0):
        flat = tuple(value for row in prototypes for value in row)
        objective = Contrast(temperature, flat)
        weights = torch.tensor(logits)
        return objective(lambda w, _: w, weights, None, None, None)

    def test_by_hand(self):
        """Two records, three prototypes of three classes, tau = 2."""
        others = [(1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 3.0)]
        found = self.loss([[2.0, 1.0, 0.0], [0.0, 0.0, 4.0]], others, 2.0)
        first = math.log(math.e + math.e + 1) - (1 + 1 + 0) / 3
        second = math.log(1 + 1 + math.exp(6)) - 6 / 3
        torch.testing.assert_close(found, torch.tensor([first, second]))

    def test_is_least_where_a_record_is_equally_like_all(self):
        others = [(1.0, 0.0), (0.0, 1.0)]
        even, uneven = self.loss([[3.0, 3.0], [3.0, 1.0]], others)
        torch.testing.assert_close(even, torch.tensor(math.log(2)))
        assert uneven > even

    def test_without_prototypes_nothing_pulls(self):
        assert self.loss([[3.0, 1.0]], []).tolist() == [0.0]

    def test_travels_as_text(self):
        work = LocalWork(objective=Contrast(1.0, (0.5, -1.5)))
        assert decode(encode(work)) == work


def update(world, client, weights, loss):
    """What a client sends after three steps down ``loss`` of its logits."""
    image = world.here.train[client].inputs[0].flatten().double()
    leaf = weights.clone().requires_grad_()
    for _ in range(3):
        (slope,) = torch.autograd.grad(loss(leaf - image), leaf)
        leaf = (leaf - 0.1 * slope).detach().requires_grad_()
    return leaf.detach() - weights


def test_the_rounds_follow_their_equations():
    """Every client of the world holds one class: its mean logits are those of its records."""
    world = World()
    models, history = curve(TWO, [1], world)
    weights = history.final.double()

    def silent(logits):
        return -math.log(6) - functional.log_softmax(logits, 0).mean()

    weights = weights + update(world, 1, weights, silent)
    for found in models:
        images = [world.here.train[i].inputs[0].flatten().double() for i in (0, 2, 3)]
        others = torch.stack([weights - image for image in images])

        def contrast(logits, others=others):
            return -functional.log_softmax(others @ logits / 2, 0).mean()

        weights = weights + update(world, 1, weights, contrast)
        weights = world.formula([0, 2, 3], 1, weights).double()
        torch.testing.assert_close(found, weights.float(), rtol=1e-4, atol=1e-5)


def test_the_first_work_makes_the_model_say_little_of_the_leavers_records():
    """Half or more of KL(uniform | p) goes."""
    world = World()
    still = replace(PLAIN, optimizer=Sgd(1e-9, momentum=0))
    strategy = Fanchuan(1, replace(SILENCE, epochs=60), replace(still, objective=Contrast()))
    with world.open() as clients:
        course = world.trained(clients)
    quiet = replace(world, training=replace(world.training, work=still))
    models, history = curve(strategy, [1], quiet, course)
    image = world.here.train[1].inputs[0].flatten()
    loss = [
        Indifference()(lambda w, _: w, w - image, None, None, None)
        for w in (history.final, models[-1])
    ]
    assert loss[1] < loss[0] / 2


def test_who_is_asked_how_often_and_for_sums_alone():
    """Once before the rounds; in each a sum and work of those who remain, and the leaver's work."""
    assert asked_of_clients(TWO) == 1 + 2 * (3 + 1 + 3)
    assert Fanchuan().needs == Needs(remaining=True, leaver=True)


def test_another_contrast_is_refused():
    with pytest.raises(Refused, match=r"Fanchuan\.contrast\.objective must be a Contrast"):
        Fanchuan(contrast=replace(PLAIN, objective=CrossEntropy()))
