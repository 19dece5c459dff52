"""Ordinary training that diverges stops with a sentence; a strategy that does is measured."""

from dataclasses import dataclass, replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.unlearning import ClientFailed, Moment, Training
from tests.support.world import WORK, HalfSquare, World

FAST = LocalWork(
    epochs=60, batch_size=1000, optimizer=Sgd(lr=50.0, momentum=0), objective=HalfSquare()
)


def test_a_client_that_diverges_stops_training_with_its_name_round_and_rate():
    world = World(training=Training(rounds=3, work=FAST))
    sentence = (
        r"^Client 0 sent a reply that cannot be used: the array weights holds numbers that are "
        r"not finite\.[\s\S]*diverged: round 1, with a learning rate of 50; lower"
    )
    with world.open() as clients, pytest.raises(ClientFailed, match=sentence):
        world.trained(clients)


def test_the_rate_is_that_of_the_round():
    world = World(training=Training(rounds=3, work=replace(FAST, lr_decay=0.9)))
    with world.open() as clients, pytest.raises(ClientFailed, match=r"learning rate of 45;"):
        clients.train(world.start.history.initial, round=2)


@dataclass(frozen=True)
class Exploding:
    """A server whose second step is too long."""

    def start(self, weights):
        return 0

    def step(self, weights, update, state):
        return (weights + update) * (1 if state == 0 else torch.inf), state + 1


def test_a_server_that_diverges_stops_training_as_well():
    world = World(training=Training(rounds=4, work=WORK, server=Exploding()))
    with world.open() as clients, pytest.raises(Refused, match=r"diverged before round 3.*server"):
        world.trained(clients)


@pytest.mark.parametrize(
    "moment", [Moment("unlearn", 1, 1), Moment("recover", 1, 1), Moment("train", 1, 1)]
)
def test_what_a_strategy_makes_diverge_is_measured(moment):
    world = World(training=Training(rounds=3, work=FAST))
    with world.open() as clients:
        clients.ledger.moment = moment
        updates = clients.train(world.start.history.initial, round=1)
    assert not updates.deltas.isfinite().all()
