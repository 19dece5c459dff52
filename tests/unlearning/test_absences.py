"""Drop-outs and stragglers: who they are is a function of the seed, the round and the client."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import LocalWork, Sgd, Straggling
from fedunlearn.randomness import Stream, rng
from fedunlearn.unlearning import (
    Ledger,
    NoRecovery,
    Scaffold,
    Training,
    absent,
    cohort,
    forget,
    train,
)
from strategies.exact_rollback import ExactRollback
from strategies.retrain import Retrain
from tests.support.cohorts import both
from tests.support.world import RATE, WORK, D, World, finish

HALF = Straggling(share=0.5, effort=0.4)


def test_who_drops_out_depends_on_nobody_else():
    for number in range(1, 40):
        everybody = absent(range(30), 0.3, 5, number)
        assert absent([2, 7, 29], 0.3, 5, number) == everybody & {2, 7, 29}
        assert absent(range(30), 0.5, 5, number) >= everybody
    share = np.mean([len(absent(range(30), 0.3, 5, number)) / 30 for number in range(1, 200)])
    assert share == pytest.approx(0.3, abs=0.02)
    assert absent(range(30), 0.3, 5, 1) != absent(range(30), 0.3, 6, 1)
    assert absent([], 0.3, 5, 1) == absent(range(30), 0, 5, 1) == frozenset()


def test_a_round_is_that_of_those_who_reply_and_all_are_charged_what_they_were_sent():
    world = World(training=Training(rounds=12, work=WORK, dropout=0.4))
    ledger, weights = Ledger(), world.start.history.initial
    with world.open(ledger) as clients:
        empty = 0
        for number, (updates, after) in enumerate(clients.rounds(weights, 1, 12), start=1):
            away = absent(range(4), 0.4, world.seed, number)
            assert set(updates.clients) == set(range(4)) - away
            if updates.clients:
                expected = world.formula(updates.clients, 1, weights=weights)
                torch.testing.assert_close(after, expected)
            empty += len(away)
            weights = after
    assert 0 < empty < 48
    assert ledger.bytes_down == 12 * 4 * 4 * D
    assert ledger.bytes_up == ledger.bytes_down - empty * 4 * D
    assert sum(not charge.samples for charge in ledger) == empty


def test_a_round_in_which_nobody_replies_changes_nothing():
    world = World(sizes=(10, 20), training=Training(rounds=30, work=WORK, dropout=0.8))
    with world.open() as clients:
        history = world.trained(clients).history
        weights = world.start.history.initial
        silent = 0
        for updates, after in clients.rounds(weights, 1, 30):
            silent += not updates.clients
            assert bool(updates.clients) or torch.equal(weights, after)
            weights = after
    assert silent > 5
    assert torch.equal(history.final, weights)


@pytest.mark.parametrize("strategy", [Retrain(), ExactRollback()], ids=["retrain", "rollback"])
def test_exact_strategies_stay_exact(strategy):
    training = Training(
        rounds=6, cohort=0.5, dropout=0.3, work=replace(WORK, epochs=5, straggling=HALF)
    )
    world, needs = World(training=training), Needs(updates=True, models=True)
    with world.open() as clients:
        course = finish(train(world.start, clients, 6, needs))
        served = finish(forget(course, {1}, strategy, NoRecovery(), clients, needs))
        rest = clients.scoped(clients.access.without({1}))
        alone = [w for _, w in rest.rounds(world.start.history.initial, 1, 6)]
    assert torch.equal(served.history.final, alone[-1])


def test_a_straggler_takes_its_share_of_the_steps():
    world = World(training=Training(rounds=1, work=replace(WORK, epochs=5, straggling=HALF)))
    start, ledger, slow = world.start.history.initial, Ledger(), 0
    with world.open(ledger) as clients:
        for number in range(1, 9):
            ledger.charges.clear()
            updates = clients.train(start, round=number)
            for client, delta, charge in zip(range(4), updates.deltas, ledger, strict=True):
                steps = HALF.steps(5, rng(world.seed, Stream.CLIENT, 0, number, client))
                assert steps in (2, 5)
                slow += steps == 2
                target = world.here.train[client].inputs[0].flatten()
                expected = target + (1 - RATE) ** steps * (start - target) - start
                torch.testing.assert_close(delta, expected, rtol=1e-4, atol=1e-6)
                assert charge.samples == steps * len(world.here.train[client])
    assert 8 < slow < 24


@pytest.mark.parametrize("batch_size", [8, 1000])
def test_all_clients_at_once_are_one_after_another(batch_size):
    work = LocalWork(epochs=3, batch_size=batch_size, straggling=HALF)
    together, alone = both(work, dtype=torch.float64)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(alone, both(replace(work, straggling=None), dtype=torch.float64)[1])


def test_nobody_draws_otherwise_for_it():
    mine, other = rng(1, Stream.CLIENT, 0, 1, 2), rng(1, Stream.CLIENT, 0, 1, 2)
    LocalWork(straggling=HALF).taken(60, mine)
    assert (LocalWork().order(60, mine) == LocalWork().order(60, other)).all()
    assert cohort(range(9), 4, 0, 1) == cohort(range(9), 4, 0, 1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: Training(dropout=1), r"Training\.dropout must be a number .* below 1, not 1"),
        (lambda: Straggling(share=1.5), r"Straggling\.share must be"),
        (lambda: Straggling(effort=0), r"Straggling\.effort must be a number above 0"),
        (
            lambda: Training(
                work=LocalWork(optimizer=Sgd(momentum=0), straggling=HALF), correction=Scaffold()
            ),
            r"training\.work\.straggling=null",
        ),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(Refused, match=sentence):
        wrong()
