"""Ordinary training that diverges stops with a sentence; a strategy that does is measured."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fedunlearn.checks import Refused
from fedunlearn.flower import InProcessGrid, Unlearning
from fedunlearn.local import LocalWork, Schedule, Sgd
from fedunlearn.unlearning import ClientFailed, Moment, Training
from strategies.retrain import Retrain
from tests.support import plain_app as plain
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
    world = World(
        training=Training(rounds=3, work=replace(FAST, schedule=Schedule("exponential", decay=0.9)))
    )
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


class TestWrappedApps:
    """An app of somebody's own, under `Unlearning`."""

    def start(self, built, strategy, method, withdrawals, rounds=4):
        unlearning = Unlearning(strategy, method, withdrawals, clients=plain.CLIENTS)
        grid = InProcessGrid(built, plain.CLIENTS, workers=1)
        try:
            unlearning.start(grid, plain.arrays(plain.INITIAL), rounds)
        finally:
            grid.close()
        return unlearning

    def exploding(self, factor, since):
        """Client 3 answers ``factor`` times as far out, from its ``since``-th message on."""
        built, count = plain.App().build(), itertools.count(1)

        def mod(message, context, answer):
            reply = answer(message, context)
            train = message.metadata.message_type == "train"
            if train and context.node_config["partition-id"] == 3 and next(count) >= since:
                far = {
                    name: Array(array.numpy() * np.float32(factor))
                    for name, array in reply.content["arrays"].items()
                }
                reply.content["arrays"] = ArrayRecord(far)
            return reply

        def app(message, context):
            return mod(message, context, built)

        return app

    @pytest.mark.parametrize(
        ("factor", "what"), [(np.inf, "not finite"), (np.nan, "not finite"), (1e25, "longer than")]
    )
    def test_a_client_that_diverges_is_named_with_its_round(self, factor, what):
        said = (
            rf"(?s)^Client 3 sent a reply .*{what}.*\nIf training diverged: round 3; lower the le"
        )
        with pytest.raises(ClientFailed, match=said):
            self.start(self.exploding(factor, since=3), FedAvg(), Retrain(), {4: [1]})

    def test_a_stretch_that_begins_again_is_told_of(self):
        said = r"(?s)^Client 3 .* round 2 of unlearning after request 1; lower the learning rate"
        with pytest.raises(ClientFailed, match=said):
            self.start(self.exploding(np.nan, since=6), FedAvg(), Retrain(), {4: [1]})

    def test_a_strategy_that_diverges_is_told_of_before_anybody_is_asked(self):
        class Long(FedAvg):
            def aggregate_train(self, server_round, replies):
                arrays, metrics = super().aggregate_train(server_round, replies)
                far = np.float32(np.inf if server_round == 2 else 1)
                named = {name: Array(array.numpy() * far) for name, array in arrays.items()}
                return ArrayRecord(named), metrics

        said = r"diverged before round 3: the global model is not finite. What Long or the method"
        with pytest.raises(Refused, match=said):
            self.start(plain.App().build(), Long(), Retrain(), {4: [1]})
