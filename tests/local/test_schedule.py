"""A schedule is a function of the round's number, the same wherever a client works."""

import math
from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.local import LocalWork, Schedule, Sgd
from fedunlearn.unlearning import Plain, Projected, Training
from tests.support.cohorts import both
from tests.support.world import RATE, WORK, World

EXPONENTIAL = Schedule("exponential", decay=0.5)
STEP = Schedule("step", decay=0.1, every=3)
COSINE = Schedule("cosine", rounds=4, floor=0.2)


def factors(schedule, last=8):
    return [schedule.factor(number) for number in range(1, last + 1)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), [1] * 8),
        (EXPONENTIAL, [0.5**t for t in range(8)]),
        (STEP, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        (
            COSINE,
            [0.2 + 0.4 * (1 + math.cos(math.pi * t / 4)) for t in range(4)] + [0.2] * 4,
        ),
        (Schedule(warmup=3), [0.25, 0.5, 0.75] + [1] * 5),
        (replace(EXPONENTIAL, warmup=1), [0.5, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625]),
        (Schedule(warmup=1, after=2), [0.5, 0.5, 0.5, 1, 1, 1, 1, 1]),
    ],
    ids=["constant", "exponential", "step", "cosine", "warm-up", "warm-up, then", "after"],
)
def test_each_shape_is_its_formula(schedule, expected):
    assert factors(schedule) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("schedule", [EXPONENTIAL, STEP, COSINE, Schedule(warmup=5)])
def test_no_round_is_without_a_rate_and_none_above_the_full_one(schedule):
    found = factors(replace(schedule, warmup=2), 200)
    assert 0 < min(found) <= max(found) == 1
    assert all(
        math.isclose(a, b)
        for a, b in zip(found[2:], factors(replace(schedule, warmup=0), 198), strict=True)
    )
    assert factors(replace(schedule, after=7), 207)[7:] == factors(schedule, 200)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"shape": "cosin"}, r"did you mean cosine\?"),
        ({"warmup": -1}, "Schedule.warmup must be a whole number of at least 0, not -1"),
        ({"shape": "step", "decay": 0}, "Schedule.decay must be a number above 0"),
        ({"shape": "cosine"}, "Schedule.rounds must be a whole number .* where shape is cosine"),
        ({"decay": 0.5}, "decay=0.5 is heeded by exponential and step only, not by constant"),
        ({"shape": "step", "rounds": 3}, "rounds=3 is heeded by cosine only, not by step"),
        ({"shape": "exponential", "every": 2}, "every=2 is heeded by step only"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(Refused, match=sentence):
        Schedule(**wrong)


@pytest.mark.parametrize("schedule", [STEP, replace(COSINE, warmup=1)], ids=["step", "cosine"])
def test_all_clients_at_once_are_one_after_another(schedule):
    work = LocalWork(epochs=2, schedule=schedule, optimizer=Sgd(0.1))
    together, alone = both(work, dtype=torch.float64, rounds=4)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-13)


def affine(world, schedule, rounds, ids, weights, first=1):
    """FedAvg of the quadratic world where round t has the rate ``RATE * schedule.factor(t)``."""
    sizes = torch.tensor([len(world.here.train[i]) for i in ids], dtype=torch.float64)
    targets = torch.stack([world.here.train[i].inputs[0].flatten() for i in ids]).double()
    centre, weights = (sizes / sizes.sum()) @ targets, weights.double()
    for number in range(first, first + rounds):
        shrink = (1 - RATE * schedule.factor(number)) ** WORK.epochs
        weights = centre + shrink * (weights - centre)
    return weights.float()


@pytest.mark.parametrize("schedule", [STEP, replace(COSINE, warmup=2)], ids=["step", "cosine"])
def test_training_is_its_closed_form(schedule):
    world = World(training=Training(rounds=6, work=replace(WORK, schedule=schedule)))
    with world.open() as clients:
        found = world.trained(clients).history.final
    expected = affine(world, schedule, 6, range(4), world.start.history.initial)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("recovery", [Plain, Projected])
def test_recovery_has_a_schedule_of_its_own_that_begins_with_it(recovery):
    own = Schedule(warmup=2)
    world = World(training=Training(rounds=6, work=replace(WORK, schedule=EXPONENTIAL)))
    start = world.start.history.initial
    with world.open() as clients:
        # Projection closes the way back to `original`; at the first model there is none.
        found = [w for _, w in recovery(1, schedule=own).recover(start, start, 6, clients)][-1]
        later = [w for _, w in recovery(1).recover(start, start, 6, clients)][-1]
    torch.testing.assert_close(found, affine(world, own, 1, range(4), start))
    torch.testing.assert_close(later, affine(world, EXPONENTIAL, 1, range(4), start, first=7))


def test_every_round_of_recovery_counts_from_its_first():
    own, world, start = Schedule(warmup=2), World(), World().start.history.initial
    with world.open() as clients:
        found = [w for _, w in Plain(4, schedule=own).recover(start, start, 6, clients)]
    for count, weights in enumerate(found, start=1):
        torch.testing.assert_close(weights, affine(world, own, count, range(4), start))
