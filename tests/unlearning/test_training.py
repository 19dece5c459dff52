from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import Schedule, Trained
from fedunlearn.unlearning import (
    Access,
    ClientFailed,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedYogi,
    Ledger,
    Training,
    cohort,
    train,
)
from tests.support.world import RATE, WORK, D, HalfSquare, World, break_client, finish


def test_training_equals_its_formula():
    world = World()
    with world.open() as clients:
        course = world.trained(clients)
    expected = world.formula(range(4), rounds=6)
    torch.testing.assert_close(course.history.final, expected)


def test_every_kept_round_is_what_the_server_saw():
    world = World()
    with world.open() as clients:
        history = world.trained(clients).history
    weights = history.initial
    for number, kept in enumerate(history, start=1):
        assert kept.number == number
        torch.testing.assert_close(kept.before, weights)
        torch.testing.assert_close(kept.before, world.formula(range(4), number - 1))
        everyone = set(kept.updates.clients)
        weights = weights + kept.share(everyone)
    torch.testing.assert_close(weights, history.final)


def test_bytes_are_rounds_times_clients_times_twice_the_size():
    world = World()
    with world.open() as clients:
        world.trained(clients)
        ledger = clients.ledger
    assert ledger.bytes_down + ledger.bytes_up == 6 * 4 * 2 * (4 * D)
    assert ledger.bytes_down == ledger.bytes_up
    assert ledger.messages == 6 * 4 * 2
    sizes = {i: len(world.here.train[i]) for i in range(4)}
    assert ledger.samples == 6 * 3 * sum(sizes.values())
    assert ledger.client_epochs == 6 * 4 * 3


def test_scaling_all_record_counts_changes_nothing():
    small, large = World(sizes=(10, 20, 30)), World(sizes=(100, 200, 300))
    finals = []
    for world in (small, large):
        with world.open() as clients:
            finals.append(world.trained(clients).history.final)
    torch.testing.assert_close(*finals)


def test_the_same_seed_gives_identical_bits_whatever_the_number_of_threads():
    finals = []
    for workers in (1, 3):
        world = World(workers=workers)
        with world.open() as clients:
            finals.append(world.trained(clients).history.final)
    assert torch.equal(*finals)


def test_updates_do_not_depend_on_who_else_is_asked():
    world = World(training=Training(rounds=1, work=replace(WORK, batch_size=4)))
    with world.open() as clients:
        alone = clients.train(world.start.history.initial, [2], round=5)
        together = clients.train(world.start.history.initial, [3, 2, 0], round=5)
    assert together.clients == (0, 2, 3)
    assert torch.equal(alone.deltas[0], together.deltas[1])


def test_random_numbers_are_a_function_of_seed_stream_round_and_client(monkeypatch):
    world, drawn = World(workers=1), []

    def train_locally(network, start, images, labels, work, round, rng, other, mask):
        drawn.append(rng.random())
        return Trained(start, len(labels))

    monkeypatch.setattr("fedunlearn.flower.client_app.train_locally", train_locally)
    start = world.start.history.initial
    with world.open() as clients:
        for seed, stream, number in [(3, 0, 1), (4, 0, 1), (3, 1, 1), (3, 0, 2)]:
            asking = replace(clients, seed=seed, access=Access(clients.ids, stream=stream))
            asking.train(start, round=number)
        assert len(set(drawn)) == 4 * 4
        clients.train(start, [2], round=1)
    assert drawn[-1] == drawn[2]


def test_momentum_and_batches_follow_plain_pytorch():
    work = replace(WORK, epochs=2, batch_size=4, schedule=Schedule("exponential", decay=0.5))
    world = World(training=Training(rounds=1, work=work))
    start = world.start.history.initial
    with world.open() as clients:
        delta = clients.train(start, [1], round=3).deltas[0]
    weights = start.clone().requires_grad_()
    target = world.here.train[1].inputs[0].flatten()
    steps = 2 * int(np.ceil(len(world.here.train[1]) / 4))
    for _ in range(steps):  # every batch holds copies of the same record
        weights = weights - RATE * 0.25 * (weights - target)
    torch.testing.assert_close(delta, (weights - start).detach())


class TestCohort:
    def test_is_seeded_and_of_the_right_size(self):
        drawn = cohort(range(20), 5, seed=1, round=2)
        assert drawn == cohort(reversed(range(20)), 5, seed=1, round=2)
        assert len(drawn) == 5
        assert list(drawn) == sorted(drawn)
        assert drawn != cohort(range(20), 5, seed=2, round=2)
        assert drawn != cohort(range(20), 5, seed=1, round=3)

    def test_removing_a_client_reshuffles_nobody(self):
        for number in range(1, 30):
            before = set(cohort(range(20), 5, 0, number))
            after = set(cohort(set(range(20)) - {7}, 5, 0, number))
            assert before - {7} <= after
            if 7 not in before:
                assert after == before

    def test_everybody_is_asked_equally_often(self):
        counts = np.zeros(10)
        for number in range(1, 2001):
            counts[list(cohort(range(10), 3, 0, number))] += 1
        # Binomial(2000, 0.3) has a standard deviation of 20.5.
        assert np.all(np.abs(counts - 600) < 4.5 * 20.5)

    def test_partial_participation_trains_the_scheduled_clients(self):
        world = World(training=Training(rounds=4, cohort=0.5, work=WORK))
        with world.open() as clients:
            history = world.trained(clients).history
        for kept in history:
            assert kept.updates.clients == cohort(range(4), 2, world.seed, kept.number)


class TestServerOptimizers:
    weights, update = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 0.1, -0.2])

    def steps(self, server, count=2):
        weights, state = self.weights, server.start(self.weights)
        for _ in range(count):
            weights, state = server.step(weights, self.update, state)
        return weights

    def test_average(self):
        torch.testing.assert_close(self.steps(FedAvg(lr=0.5)), self.weights + self.update)

    def test_momentum(self):
        expected = self.weights + self.update + (1 + 0.9) * self.update
        torch.testing.assert_close(self.steps(FedAvgM()), expected)

    def test_adam(self):
        first, second, weights = torch.zeros(3), torch.full((3,), 1e-6), self.weights
        for _ in range(2):
            first = 0.9 * first + 0.1 * self.update
            second = 0.99 * second + 0.01 * self.update**2
            weights = weights + 0.01 * first / (second.sqrt() + 0.001)
        torch.testing.assert_close(self.steps(FedAdam()), weights)

    def test_yogi_moves_its_second_moment_by_a_bounded_amount(self):
        server = FedYogi()
        _, (_, second) = server.step(self.weights, self.update, server.start(self.weights))
        expected = 1e-6 + 0.01 * self.update**2  # v < u^2, so the sign is -1 and v grows
        torch.testing.assert_close(second, expected)
        _, (_, shrunk) = server.step(self.weights, 0 * self.update, (0 * second, second))
        torch.testing.assert_close(shrunk, second)

    @pytest.mark.parametrize("server", [FedAvg(), FedAvgM(), FedAdam(), FedYogi()])
    def test_trains_through_the_federation(self, server):
        world = World(training=Training(rounds=3, work=WORK, server=server))
        with world.open() as clients:
            history = world.trained(clients).history
        weights, state = history.initial, server.start(history.initial)
        for kept in history:
            step = kept.share(set(kept.updates.clients))
            weights, state = server.step(weights, step, state)
        torch.testing.assert_close(history.final, weights)


class TestFailures:
    broken = replace(WORK, objective=HalfSquare(), clip_norm=None)

    def test_a_client_error_stops_the_run_and_names_the_client(self, monkeypatch):
        world = World()
        break_client(monkeypatch, world, 2)
        with (
            world.open() as clients,
            pytest.raises(ClientFailed, match="Client 2 failed") as caught,
        ):
            world.trained(clients)
        assert "disk on fire" in str(caught.value)

    def test_tolerated_failures_leave_the_others_in_the_round(self, monkeypatch):
        world = World(training=Training(rounds=2, work=WORK, tolerated_failures=1))
        break_client(monkeypatch, world, 2)
        with world.open() as clients:
            history = world.trained(clients).history
        assert [kept.updates.clients for kept in history] == [(0, 1, 3)] * 2
        torch.testing.assert_close(history.final, world.formula([0, 1, 3], rounds=2))


def test_nobody_outside_the_scope_can_be_asked():
    world = World()
    with world.open() as clients:
        scoped = clients.scoped(Access(frozenset({0, 1, 3})))
        with pytest.raises(PermissionError, match=r"\[2\]"):
            scoped.train(world.start.history.initial, [1, 2], round=1)
        with pytest.raises(PermissionError, match="leaver=True"):
            scoped.leavers  # noqa: B018
        with pytest.raises(PermissionError, match="proxy=True"):
            scoped.proxy  # noqa: B018
        asking = clients.scoped(Access(scoped.ids, Needs(leaver=True), frozenset({2})))
        assert asking.leavers.train(world.start.history.initial, [2], round=1).clients == (2,)
    assert not isinstance(PermissionError(), Refused)


def test_training_can_stop_and_go_on():
    world = World()
    with world.open(Ledger()) as clients:
        needs = Needs(updates=True)
        half = finish(train(world.start, clients, 3, needs))
        whole = finish(train(half, clients, 6, needs))
        straight = world.trained(clients)
    assert torch.equal(whole.history.final, straight.history.final)
    assert [kept.number for kept in whole.history] == [1, 2, 3, 4, 5, 6]
