"""SCAFFOLD and FedDyn in the world of closed forms, where clients are as different as can be."""

from dataclasses import dataclass, replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import Adam, Ball, LocalWork, Sgd
from fedunlearn.unlearning import (
    FedAvg,
    FedAvgM,
    FedDyn,
    Ledger,
    NoRecovery,
    Plain,
    Scaffold,
    Training,
    forget,
    train,
)
from strategies.finetune import FineTune
from strategies.retrain import Retrain
from tests.support.world import RATE, WORK, D, World, finish

CORRECTIONS = {"scaffold": Scaffold(), "feddyn": FedDyn(alpha=0.5)}


@dataclass(frozen=True)
class Steep:
    """Loss (c / 2) |w - t|^2 with a curvature c that is the client's own."""

    def __call__(self, network, weights, images, labels, sent):
        curvature = 0.5 + labels.to(weights.dtype)
        return curvature * network(weights, images).square().sum(dim=1) / 2


STEEP = replace(WORK, objective=Steep(), epochs=5)


def optimum(world, ids):
    """The minimum of the clients' mean loss, weighted by records."""
    sizes = torch.tensor([len(world.here.train[i]) for i in ids], dtype=torch.float64)
    weights = sizes * torch.tensor([0.5 + i for i in ids], dtype=torch.float64)
    targets = torch.stack([world.here.train[i].inputs[0].flatten() for i in ids]).double()
    return ((weights / weights.sum()) @ targets).float()


def trained(training, rounds=60, ids=range(4), weights=None):
    world = World(training=replace(training, rounds=rounds))
    start = world.start.history.initial if weights is None else weights
    with world.open() as clients:
        access = clients.access.without(set(range(4)) - set(ids))
        found = [w for _, w in clients.scoped(access).rounds(start, 1, rounds)]
    return world, found


@pytest.mark.parametrize("correction", CORRECTIONS.values(), ids=CORRECTIONS)
def test_its_fixed_point_is_the_optimum_of_different_clients(correction):
    world, found = trained(Training(work=STEEP, correction=correction))
    torch.testing.assert_close(found[-1], optimum(world, range(4)), rtol=1e-3, atol=1e-3)


def test_that_of_plain_averaging_is_not():
    world, found = trained(Training(work=STEEP))
    torch.testing.assert_close(found[-1], found[-2], rtol=1e-4, atol=1e-4)
    assert (found[-1] - optimum(world, range(4))).norm() > 0.1


@pytest.mark.parametrize("correction", CORRECTIONS.values(), ids=CORRECTIONS)
def test_cohorts_that_differ_from_round_to_round_come_there_too(correction):
    training = Training(work=STEEP, correction=correction, cohort=0.5)
    world, found = trained(training, rounds=150)
    apart = (found[-1] - optimum(world, range(4))).norm()
    assert apart < 0.05
    _, plain = trained(Training(work=STEEP, cohort=0.5), rounds=150)
    assert (plain[-1] - optimum(world, range(4))).norm() > 10 * apart


def by_hand(world, correction, rounds):
    """Both algorithms as a loop over clients, from their papers."""
    ids, rate = range(4), RATE
    sizes = torch.tensor([len(world.here.train[i]) for i in ids], dtype=torch.float64)
    shares = sizes / sizes.sum()
    targets = torch.stack([world.here.train[i].inputs[0].flatten() for i in ids]).double()
    curvature = torch.tensor([0.5 + i for i in ids], dtype=torch.float64)
    weights = world.start.history.initial.double()
    own = torch.zeros(4, D, dtype=torch.float64)
    for _ in range(rounds):
        local, mean = weights.repeat(4, 1), shares @ own
        for _ in range(STEEP.epochs):
            slopes = curvature[:, None] * (local - targets)
            if isinstance(correction, Scaffold):
                slopes = slopes - own + mean
            else:
                slopes = slopes - own + correction.alpha * (local - weights)
            local = local - rate * slopes
        if isinstance(correction, Scaffold):
            own = own - mean + (weights - local) / (STEEP.epochs * rate)
            weights = shares @ local
        else:
            own = own - correction.alpha * (local - weights)
            weights = shares @ local - shares @ own / correction.alpha
    return weights.float()


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("correction", CORRECTIONS.values(), ids=CORRECTIONS)
def test_every_round_is_that_of_the_paper(correction, rounds):
    world, found = trained(Training(work=STEEP, correction=correction), rounds)
    torch.testing.assert_close(found[-1], by_hand(world, correction, rounds), rtol=1e-4, atol=1e-5)


def test_the_first_round_of_scaffold_is_plain_averaging():
    _, corrected = trained(Training(work=STEEP, correction=Scaffold()), rounds=1)
    _, plain = trained(Training(work=STEEP), rounds=1)
    torch.testing.assert_close(corrected[0], plain[0])


@pytest.mark.parametrize("correction", CORRECTIONS.values(), ids=CORRECTIONS)
def test_retraining_is_a_federation_without_the_leaver_bit_for_bit(correction):
    world = World(training=Training(rounds=6, work=STEEP, correction=correction))
    needs = Needs(updates=True, models=True)
    with world.open() as clients:
        course = finish(train(world.start, clients, 4, needs))
        steps = forget(course, {1}, Retrain(), NoRecovery(), clients, needs)
        served = finish(steps)
        later = finish(train(served, clients, 6, needs))
    _, alone = trained(world.training, rounds=4, ids=[0, 2, 3])
    assert torch.equal(served.history.final, alone[-1])
    with world.open() as clients:  # and training goes on as if it had begun with that model
        access = clients.access.without({1})
        on = [w for _, w in clients.scoped(access).rounds(alone[-1], 5, 6)]
    assert torch.equal(later.history.final, on[-1])


@pytest.mark.parametrize("correction", CORRECTIONS.values(), ids=CORRECTIONS)
@pytest.mark.parametrize("how", ["recovery", "fine-tuning"])
def test_rounds_after_a_request_know_nothing_of_the_leavers_vector(correction, how):
    """The models after it are a function of the model at the request alone."""
    world = World(training=Training(rounds=4, work=STEEP, correction=correction))
    strategy, recovery = (Retrain(), Plain(2)) if how == "recovery" else (FineTune(2), NoRecovery())
    with world.open() as clients:
        course = finish(train(world.start, clients, 4, Needs()))
        models = [
            step.weights for step in forget(course, {1}, strategy, recovery, clients, Needs())
        ]
        if how == "fine-tuning":
            rest = clients.scoped(clients.access.without({1}))
            fresh = [w for _, w in rest.rounds(course.history.final, 5, 6)]
            assert torch.equal(models[-1], fresh[-1])
        else:
            rest = clients.scoped(replace(clients.access.without({1}), stream=1))
            fresh = [w for _, w in rest.rounds(models[-3], 5, 6)]
            assert torch.equal(models[-1], fresh[-1])


def test_what_is_sent_along_is_charged():
    world = World(training=Training(rounds=3, work=STEEP, correction=Scaffold()))
    ledger = Ledger()
    with world.open(ledger) as clients:
        list(clients.rounds(world.start.history.initial, 1, 3))
    assert ledger.bytes_down == 2 * ledger.bytes_up == 3 * 4 * 2 * 4 * D


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: Training(correction=Scaffold()), r"training\.work\.optimizer\.momentum=0"),
        (
            lambda: Training(work=LocalWork(optimizer=Adam()), correction=Scaffold()),
            "plain SGD of known steps only",
        ),
        (
            lambda: Training(
                work=LocalWork(optimizer=Sgd(momentum=0), clip_norm=1), correction=Scaffold()
            ),
            r"training\.work\.clip_norm=null",
        ),
        (
            lambda: Training(server=FedAvgM(), correction=FedDyn()),
            "FedDyn makes the server's step itself",
        ),
        (lambda: Training(server=FedAvg(0.5), correction=FedDyn()), "FedAvg with lr=1"),
        (
            lambda: Training(work=LocalWork(bound=Ball(1, 1)), correction=FedDyn()),
            "bound null",
        ),
        (lambda: FedDyn(alpha=0), r"FedDyn\.alpha must be a number above 0"),
    ],
)
def test_what_a_correction_does_not_cover_is_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(Refused, match=sentence):
        wrong()
