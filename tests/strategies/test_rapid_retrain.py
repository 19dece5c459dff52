"""Rapid retraining: squared gradients of single records, the step rule, and the strategy."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import Shards
from fedunlearn.flower import encode
from fedunlearn.flower.messages import decode
from fedunlearn.history import Needs
from fedunlearn.local import (
    Adam,
    ChunkedTrainer,
    CohortWork,
    CrossEntropy,
    DiagonalFisher,
    LocalWork,
    Proximal,
    Schedule,
    Sgd,
    per_record_gradients,
    sgd,
    train_locally,
)
from fedunlearn.local.cohort import train_cohort
from fedunlearn.local.optimizers import Step, blocks
from fedunlearn.local.per_record_gradients import moments
from fedunlearn.models import Cnn, Mlp, Network
from fedunlearn.unlearning import NoRecovery, Request, Training, forget
from strategies.rapid_retrain import RapidRetrain
from strategies.retrain import Retrain
from tests.support.cohorts import RAGGED, both, rngs
from tests.support.cohorts import world as held
from tests.support.unlearned import curve
from tests.support.world import WORK, Scaled, World, break_client, finish

FISHER = DiagonalFisher()
SAME = replace(WORK, optimizer=FISHER)
NETWORK = Network(Mlp((16,)), (1, 8, 8), 10)


def one_by_one(objective, network, weights, images, labels, sent):
    """The gradient of each record's loss, [n, d], by plain autograd."""
    rows = []
    for image, label in zip(images, labels, strict=True):
        leaf = weights.clone().requires_grad_()
        loss = objective(network, leaf, image[None], label[None], sent)
        rows.append(torch.autograd.grad(loss.sum(), leaf)[0])
    return torch.stack(rows)


@dataclass
class Counted:
    """A network that counts how often it is called, however many records at once."""

    network: Network
    calls: int = 0

    def __call__(self, weights, images):
        self.calls += 1
        return self.network(weights, images)


class TestSingleGradients:
    records, start = held((5, 5), NETWORK, torch.float64)
    images = torch.stack([each.inputs for each in records])
    labels = torch.stack([each.labels for each in records])
    weights = torch.stack([start, 1.1 * start])
    shares = torch.tensor([[1.0] * 5, [2.5, 1.25, 1.25, 0, 0]]).double() / 5

    def found(self, objective, sent, network=NETWORK):
        nothing = self.weights[:, :0]
        return moments(
            *(objective, network, self.weights, nothing),
            *(self.images, self.labels, self.shares, sent),
        )

    @pytest.mark.parametrize("one_each", [False, True])
    def test_are_weighed_and_squared_as_plain_autograd_says(self, one_each):
        sent = torch.stack([self.start - 1, self.start + 1])[:, None] if one_each else None
        sent = self.start[None] - 1 if sent is None else sent
        first, second = self.found(Proximal(0.5), sent)
        for row in range(2):
            own = sent[row] if one_each else sent
            single = one_by_one(
                *(Proximal(0.5), NETWORK, self.weights[row]),
                *(self.images[row], self.labels[row], own),
            )
            torch.testing.assert_close(first[row], self.shares[row] @ single)
            torch.testing.assert_close(second[row], self.shares[row] @ single**2)
        assert (second >= first**2 - 1e-12).all()
        assert (second > first**2 + 1e-6).any()

    @pytest.mark.parametrize(("most", "calls"), [(1, 5), (2, 3), (5, 1), (0.1, 5)])
    def test_only_so_many_exist_at_a_time(self, monkeypatch, most, calls):
        whole = self.found(CrossEntropy(), self.start[None])
        monkeypatch.setattr(per_record_gradients, "BUDGET", int(most * self.weights.nbytes))
        counted = Counted(NETWORK)
        parts = self.found(CrossEntropy(), self.start[None], counted)
        assert counted.calls == calls
        for part, expected in zip(parts, whole, strict=True):
            torch.testing.assert_close(part, expected)

    def test_nobody_else_pays_for_them(self, monkeypatch):
        def forbidden(*rest):
            raise AssertionError("squares of single gradients for an optimizer without use of them")

        monkeypatch.setattr(sgd, "moments", forbidden)
        monkeypatch.setattr("fedunlearn.local.cohort.moments", forbidden)
        for optimizer in (Sgd(), Adam()):
            both(LocalWork(epochs=1, optimizer=optimizer), (5, 5), rounds=1)
        with pytest.raises(AssertionError, match="squares"):
            both(LocalWork(epochs=1, optimizer=FISHER), (5, 5), rounds=1)


class TestTheStep:
    def test_blocks_take_their_mean_and_the_last_may_be_shorter(self):
        values = torch.tensor([[1.0, 2, 6, 4, 4, 7, 8, 2], [0, 0, 3, 1, 1, 1, 1, 1]])
        assert blocks(values, 3).tolist() == [[3, 3, 3, 5, 5, 5, 5, 5], [1] * 8]
        assert blocks(values[0], 4).tolist() == [3.25] * 4 + [5.25] * 4
        assert torch.equal(blocks(values, 1), values)
        assert blocks(values[0], 100).tolist() == [4.25] * 8

    def test_is_its_formula(self):
        rng = np.random.default_rng(2)
        rule = DiagonalFisher(0.1, 0.7, 0.8, block=2, power=0.6, epsilon=0.01)
        weights = torch.from_numpy(rng.normal(size=4))
        state, expected, m, v = rule.start(weights), weights.numpy().copy(), 0, 0
        for count in range(1, 5):
            g, square = rng.normal(size=4), rng.random(4)
            rule.step(weights, state, Step(torch.tensor(g), 0.1, count, torch.tensor(square)))
            curvature = np.repeat(square.reshape(2, 2).mean(1), 2)
            m, v = 0.7 * m + 0.3 * g, 0.8 * v + 0.2 * curvature**2
            root = np.sqrt(v / (1 - 0.8**count)) ** 0.6
            expected -= 0.1 * m / (1 - 0.7**count) / (root + 0.01)
        np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-12)

    def train(self, optimizer, epochs=2, records=6):
        """Train in batches of one record, in float64."""
        (data,), start = held((records,), NETWORK, torch.float64)
        work = LocalWork(epochs=epochs, batch_size=1, optimizer=optimizer)
        rng = np.random.default_rng(1)
        return train_locally(NETWORK, start, data.inputs, data.labels, work, 1, rng).weights

    def test_one_record_blocks_of_one_and_the_root_are_adam_without_a_memory_of_squares(self):
        """D = g^2, so v^ = g^4 with b2 = 0, and sqrt(v^)^(1/2) = |g|: Adam's root with b2 = 0."""
        fisher = DiagonalFisher(0.01, 0.9, 0.0, block=1, power=0.5, epsilon=1e-8)
        adam = self.train(Adam(0.01, 0.9, 0.0))
        torch.testing.assert_close(self.train(fisher), adam, rtol=1e-6, atol=1e-9)
        assert (self.train(Adam(0.01)) - adam).norm() > 0.01

    def test_its_first_step_is_adam_s_for_any_memory_and_its_second_is_not(self):
        """Corrected for its start, v^ is g^4 in step 1; then the root of a mean of g^4 is not
        that of a mean of g^2."""
        fisher = DiagonalFisher(0.01, 0.9, 0.9, block=1, power=0.5, epsilon=1e-8)
        rule = Adam(0.01, 0.9, 0.9)
        once = [self.train(optimizer, 1, 1) for optimizer in (fisher, rule)]
        torch.testing.assert_close(*once, rtol=1e-6, atol=1e-9)
        twice = [self.train(optimizer, 1, 2) for optimizer in (fisher, rule)]
        assert (twice[0] - twice[1]).norm() > 1e-3

    def test_it_survives_its_message(self):
        work = LocalWork(2, optimizer=DiagonalFisher(0.1, block=1, power=0.5))
        assert decode(encode(work)) == work

    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            ({"lr": 0}, "DiagonalFisher.lr"),
            ({"beta2": 1}, "DiagonalFisher.beta2"),
            ({"block": 0}, "DiagonalFisher.block"),
            ({"power": 1.1}, "DiagonalFisher.power must be a number at least 0 and at most 1"),
            ({"epsilon": 0}, "DiagonalFisher.epsilon"),
        ],
    )
    def test_wrong_values_are_refused(self, wrong, sentence):
        with pytest.raises(Refused, match=sentence):
            DiagonalFisher(**wrong)


WORKS = {
    "default": LocalWork(epochs=2, optimizer=FISHER),
    "root": LocalWork(
        epochs=2,
        optimizer=DiagonalFisher(0.003, power=0.5),
        schedule=Schedule("exponential", decay=0.5),
    ),
    "fedprox": LocalWork(epochs=2, optimizer=FISHER, objective=Proximal(0.5)),
    "clipped": LocalWork(epochs=2, optimizer=FISHER, clip_norm=0.05),
    "one batch": LocalWork(epochs=2, batch_size=1000, optimizer=FISHER),
}


class TestManyClientsAtOnce:
    """Ragged sizes: several groups a step, with padding that must not count as records."""

    @pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
    def test_equals_one_after_another_to_the_last_digits(self, work):
        together, alone = both(work, dtype=torch.float64)
        torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-11)

    def test_convolutions_and_buffers(self):
        for network in (
            Network(Cnn((4, 4), 8), (1, 8, 8), 10),
            Network(lambda shape, classes: Scaled(), (1, 8, 8), 10),
        ):
            together, alone = both(WORKS["default"], (20, 7, 20), network, rounds=1)
            torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        assert (network.layout.named(together)["scale"] == 2).all()

    def test_in_pieces_and_each_from_a_model_of_its_own(self):
        records, start = held(RAGGED, NETWORK)
        starts = torch.stack([start * (1 + client / 10) for client in range(len(RAGGED))])
        work, shards = WORKS["fedprox"], Shards.of(records)
        seeds = [(5, client) for client in range(len(RAGGED))]
        pieces = ChunkedTrainer(NETWORK, shards, workers=2, most={repr(work): 3})
        together = pieces.train(CohortWork(starts, range(len(RAGGED)), work, 1, seeds)).weights
        whole = train_cohort(NETWORK, starts, shards, range(7), work, 1, rngs(7)).weights
        torch.testing.assert_close(together, whole, rtol=1e-4, atol=1e-5)
        for row, own, each, rng in zip(together, starts, records, rngs(7), strict=True):
            alone = train_locally(NETWORK, own, each.inputs, each.labels, work, 1, rng).weights
            torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-5)


def by_hand(world, ids, rounds, optimizer, epochs=3):
    """The rounds in closed form: all records of a client are equal, so that D = blocks(g * g)."""
    weights = world.start.history.initial.double()
    sizes = torch.tensor([float(len(world.here.train[i])) for i in ids]).double()
    targets = [world.here.train[i].inputs[0].flatten().double() for i in ids]
    models = []
    for _ in range(rounds):
        ends = []
        for target in targets:
            own, m, v = weights.clone(), 0, 0
            for t in range(1, epochs + 1):
                g = own - target
                d = (g * g).view(-1, optimizer.block).mean(1).repeat_interleave(optimizer.block)
                m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
                v = optimizer.beta2 * v + (1 - optimizer.beta2) * d * d
                root = (v / (1 - optimizer.beta2**t)).sqrt() ** optimizer.power
                step = m / (1 - optimizer.beta1**t) / (root + optimizer.epsilon)
                own = own - optimizer.lr * step
            ends.append(own)
        weights = sizes / sizes.sum() @ torch.stack(ends)
        models.append(weights.float())
    return models


class TestRapidRetraining:
    optimizer = DiagonalFisher(lr=0.05, block=3, power=0.5, epsilon=1e-3)

    @pytest.mark.parametrize("leavers", [[1], [0, 3]])
    def test_follows_its_equations_from_the_first_model(self, leavers):
        world = World()
        models, _ = curve(RapidRetrain(4, self.optimizer), leavers, world)
        staying = [client for client in range(4) if client not in leavers]
        expected = by_hand(world, staying, 4, self.optimizer)
        assert len(models) == RapidRetrain(4).length(Request(frozenset(leavers), 6)) == 4
        for model, formula in zip(models, expected, strict=True):
            torch.testing.assert_close(model, formula, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("leavers", [[], [1], [0, 2]])
    @pytest.mark.parametrize("share", [1.0, 0.5])
    def test_is_retraining_bit_for_bit_where_training_used_the_same_optimizer(self, share, leavers):
        world = World(training=Training(rounds=5, cohort=share, work=SAME))
        rapid, history = curve(RapidRetrain(5, FISHER), leavers, world)
        plain, _ = curve(Retrain(), leavers, world)
        assert all(map(torch.equal, rapid, plain))
        assert torch.equal(rapid[-1], history.final) == (not leavers)

    def test_a_second_request_is_served_without_both_and_the_history_stays(self):
        world, strategy = World(), RapidRetrain(3, self.optimizer)
        with world.open() as clients:
            course = world.trained(clients)
            needs = Needs(updates=True)
            once = finish(forget(course, {1}, strategy, NoRecovery(), clients, needs))
            twice = finish(forget(once, {2}, strategy, NoRecovery(), clients, needs))
        expected = by_hand(world, [0, 3], 3, self.optimizer)[-1]
        torch.testing.assert_close(twice.history.final, expected, rtol=1e-4, atol=1e-5)
        for kept, stored in zip(twice.history, course.history, strict=True):
            assert torch.equal(kept.updates.deltas, stored.updates.only({0, 3}).deltas)

    def test_a_round_in_which_all_fail_changes_nothing(self, monkeypatch):
        world = World((10, 20), Training(rounds=2, work=WORK, tolerated_failures=1))
        with world.open() as clients:
            course = world.trained(clients)
        break_client(monkeypatch, world, 0)
        models, history = curve(RapidRetrain(2), [1], world, course)
        assert torch.equal(models[-1], history.initial)

    def test_rounds_are_counted(self):
        with pytest.raises(Refused, match=r"RapidRetrain\.rounds"):
            RapidRetrain(rounds=0)
