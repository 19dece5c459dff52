"""Work that keeps a client near a model, and losses that make it forget; in all engines."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedunlearn.checks import Refused
from fedunlearn.data import Records, Shards
from fedunlearn.flower import encode
from fedunlearn.flower.messages import decode
from fedunlearn.local import (
    Adam,
    Ascent,
    Ball,
    CrossEntropy,
    LocalWork,
    PseudoLabels,
    Sgd,
    UnlearningCrossEntropy,
    train_locally,
)
from fedunlearn.local.cohort import train_cohort
from fedunlearn.models import Cnn, Mlp, Network
from tests.support.world import Scaled

NETWORK = Network(Mlp((16,)), (1, 8, 8), 10)
GENERATOR = torch.Generator().manual_seed(0)
SIZES = (60, 7, 33, 64, 1, 32, 58)
RECORDS = [
    Records(
        torch.rand(n, 1, 8, 8, generator=GENERATOR),
        torch.randint(0, 10, (n,), generator=GENERATOR),
    )
    for n in SIZES
]
START, OTHER = NETWORK.initial(1), NETWORK.initial(2)
FAR = 1e9
WORK = LocalWork(
    epochs=6, batch_size=16, optimizer=Sgd(0.1), objective=Ascent(), bound=Ball(FAR, FAR)
)


def alone(work, start=START, records=RECORDS[0], other=OTHER, network=NETWORK, client=0):
    rng = np.random.default_rng([5, client])
    return train_locally(
        network, start, records.inputs, records.labels, work, 1, rng, other
    ).weights


def together(work, starts=START, records=RECORDS, other=OTHER, network=NETWORK):
    rngs = [np.random.default_rng([5, client]) for client in range(len(records))]
    shards = Shards.of(records)
    return train_cohort(network, starts, shards, range(len(records)), work, 1, rngs, other).weights


def counted_alone(work, client, records=RECORDS, start=START, other=OTHER):
    held, rng = records[client], np.random.default_rng([5, client])
    return train_locally(NETWORK, start, held.inputs, held.labels, work, 1, rng, other).processed


def counted_together(work, records=RECORDS, start=START, other=OTHER, clients=None):
    clients = range(len(records)) if clients is None else clients
    rngs = [np.random.default_rng([5, client]) for client in clients]
    shards = Shards.of(records)
    return train_cohort(NETWORK, start, shards, clients, work, 1, rngs, other).processed


class TestBall:
    def test_projects_onto_the_plain_radius_and_leaves_what_is_inside(self):
        """A public port compares plain lengths with a radius that was meant squared."""
        start = torch.tensor([1.0, -2.0, 0.5])
        weights = start + torch.tensor([[3.0, 0.0, 4.0], [0.1, 0.0, -0.2]])
        inside = weights[1].clone()
        Ball(0.25, FAR).project(weights, start)
        torch.testing.assert_close(weights[0], start + torch.tensor([0.15, 0.0, 0.2]))
        assert torch.equal(weights[1], inside)

    def test_says_who_is_too_far_from_the_other_by_plain_length(self):
        distances = torch.tensor([[0.29], [0.31], [0.6], [0.05]])
        weights, sent = distances * torch.tensor([0.6, 0.8]) + 1, torch.tensor([[9.0, 9], [1, 1]])
        left = Ball(FAR, 0.3).left(weights, sent)
        assert left.tolist() == [[False], [True], [True], [False]]
        assert not Ball(FAR).left(weights, sent[:1]).any()

    @pytest.mark.parametrize("radius", [0.5, 0.03])
    def test_a_client_ends_on_the_sphere(self, radius):
        free = alone(WORK)
        held = alone(replace(WORK, bound=Ball(radius, FAR)))
        assert (free - START).norm() > 2 * radius
        torch.testing.assert_close((held - START).norm(), torch.tensor(radius))

    def test_a_client_stops_after_the_batch_that_takes_it_too_far(self):
        work = replace(WORK, batch_size=60)  # a step an epoch: the orders agree
        path = torch.stack([alone(replace(work, epochs=count)) for count in range(1, 7)])
        away = (path - OTHER).norm(dim=1)
        assert (away.diff() > 0).all()
        stop = float(away[2:4].mean())
        stopped = alone(replace(work, bound=Ball(FAR, stop)))
        assert torch.equal(stopped, path[3])
        assert torch.equal(alone(replace(work, bound=Ball(FAR, 0.0))), path[0])

    def test_without_a_stop_no_second_model_is_looked_at(self):
        work = replace(WORK, bound=Ball(0.1))
        here, far = alone(work, other=None), alone(replace(WORK, bound=Ball(0.1, FAR)))
        assert torch.equal(here, far)
        torch.testing.assert_close(together(work, other=None)[0], far, rtol=1e-4, atol=1e-5)

    def test_a_bound_that_never_binds_changes_nothing(self):
        assert torch.equal(alone(WORK), alone(replace(WORK, bound=None)))
        assert torch.equal(together(WORK), together(replace(WORK, bound=None)))

    def test_survives_its_message(self):
        work = replace(WORK, bound=Ball(0.1, 2.5))
        assert decode(encode(work)) == work
        assert decode(encode(replace(work, bound=None))).bound is None

    @pytest.mark.parametrize(("radius", "stop"), [(-1, 1), (1, -1), (float("nan"), 1), (None, 1)])
    def test_lengths_that_are_none_are_refused(self, radius, stop):
        with pytest.raises(Refused, match=r"bound\.(radius|stop) must be a number of at least|0"):
            Ball(radius, stop)


WORKS = {
    "momentum": WORK,
    "adam": replace(WORK, optimizer=Adam(0.01, weight_decay=0.1)),
    "clipped": replace(WORK, clip_norm=0.5),
}


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_a_cohort_stops_and_projects_row_by_row(work, one_each):
    records = [Records(held.inputs.double(), held.labels) for held in RECORDS]
    start, other = START.double(), OTHER.double()
    starts = torch.stack([start * (1 + i / 50) for i in range(len(SIZES))]) if one_each else start
    origins = starts.expand(len(SIZES), -1)
    free = together(work, starts, records, other)
    radius = float((free - origins).norm(dim=1).median())
    away = (free - other).norm(dim=1)
    begun = (origins - other).norm(dim=1)
    bound = Ball(radius, float(begun.max() + 0.6 * (away.median() - begun.max())))
    bounded = replace(work, bound=bound)
    rows = together(bounded, starts, records, other)
    for client, (row, own, held) in enumerate(zip(rows, origins, records, strict=True)):
        expected = alone(bounded, own, held, other, client=client)
        torch.testing.assert_close(row, expected, rtol=1e-11, atol=1e-12)
    changed = (rows - free).norm(dim=1) > 1e-6
    assert changed.any()
    assert not changed.all()
    stopped = (rows - other).norm(dim=1) > bound.stop
    assert stopped.any()
    assert not stopped.all()


class TestRecordsProcessed:
    def test_all_epochs_count_where_nothing_ends_the_work(self):
        for work in (WORK, replace(WORK, bound=None), replace(WORK, bound=Ball(0.01, FAR))):
            assert [counted_alone(work, client) for client in range(7)] == [6 * n for n in SIZES]
            assert counted_together(work) == [6 * n for n in SIZES]

    def test_a_client_that_stops_has_processed_the_batches_up_to_then(self):
        at_once = replace(WORK, bound=Ball(FAR, 0.0))
        assert [counted_alone(at_once, client) for client in range(7)] == [
            min(16, n) for n in SIZES
        ]
        assert counted_together(at_once) == [min(16, n) for n in SIZES]
        whole = replace(WORK, batch_size=60)  # a step an epoch: the orders agree
        path = torch.stack([alone(replace(whole, epochs=count)) for count in range(1, 7)])
        stop = float((path - OTHER).norm(dim=1)[2:4].mean())
        assert counted_alone(replace(whole, bound=Ball(FAR, stop)), 0) == 4 * 60

    def test_a_cohort_counts_what_each_client_does_alone(self):
        records = [Records(held.inputs.double(), held.labels) for held in RECORDS]
        start, other = START.double(), OTHER.double()
        away = (together(WORK, start, records, other) - other).norm(dim=1)
        begun = (start - other).norm()
        stop = float(begun + 0.6 * (away.median() - begun))
        work = replace(WORK, bound=Ball(FAR, stop))
        found = counted_together(work, records, start, other)
        expected = [counted_alone(work, client, records, start, other) for client in range(7)]
        assert found == expected
        whole = [6 * n for n in SIZES]
        early = [a < b for a, b in zip(found, whole, strict=True)]
        assert any(early)
        assert not all(early)
        assert any(count % 16 and count < n for count, n in zip(found, whole, strict=True))
        turned = [6, 0, 3, 5, 1, 4, 2]
        again = counted_together(work, records, start, other, turned)
        assert again == [expected[client] for client in turned]


@pytest.mark.parametrize("one_each", [False, True])
def test_a_cohort_ends_on_its_spheres(one_each):
    bounded = replace(WORK, bound=Ball(0.4, FAR))
    starts = torch.stack([START * (1 + i) for i in range(len(SIZES))]) if one_each else START
    rows = together(bounded, starts)
    origins = starts.expand(len(SIZES), -1)
    for client, (row, own, held) in enumerate(zip(rows, origins, RECORDS, strict=True)):
        expected = alone(bounded, own, held, client=client)
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)
        assert (row - own).norm() < 0.4 + 1e-4
    assert ((rows - origins).norm(dim=1) > 0.4 - 1e-4).sum() >= 3


def test_buffers_are_outside_the_bound():
    network = Network(lambda shape, classes: Scaled(), (1, 8, 8), 10)
    start, other = network.initial(1), network.initial(1)
    other[network.layout.parameters.stop :] += 100.0
    bounded = replace(WORK, bound=Ball(0.1, 50.0))
    for weights in (
        alone(bounded, start, RECORDS[0], other, network),
        together(bounded, start, RECORDS[:1], other, network)[0],
    ):
        assert (network.layout.named(weights)["scale"] == 2).all()
        torch.testing.assert_close((weights - start).norm(), torch.tensor(0.1))


@dataclass(frozen=True)
class Zero:
    """A net whose logits are its weights: every record gets the same."""

    def __call__(self, weights, images):
        return weights.expand(len(images), -1)


class TestObjectives:
    images, labels = RECORDS[0].inputs, RECORDS[0].labels
    sent = torch.stack([START, OTHER])

    def losses(self, objective, labels=None):
        return objective(
            NETWORK, START * 3, self.images, self.labels if labels is None else labels, self.sent
        )

    def test_ascent_is_the_loss_upside_down(self):
        torch.testing.assert_close(self.losses(Ascent()), -self.losses(CrossEntropy()))

    def test_the_bounded_loss_is_its_formula(self):
        p = torch.softmax(NETWORK(START * 3, self.images), dim=1)
        known = p[torch.arange(len(self.labels)), self.labels]
        expected = -torch.log(1 - known / 2)
        torch.testing.assert_close(self.losses(UnlearningCrossEntropy()), expected)

    def test_the_bounded_loss_stays_between_0_and_log_2_and_its_slope_fades(self):
        labels, images = torch.tensor([0]), torch.zeros(1)
        for logit, loss, steepest in ((-500.0, 0.0, 1e-6), (500.0, np.log(2), 1e-6)):
            weights = torch.tensor([logit, 0.0, 0.0], requires_grad=True)
            value = UnlearningCrossEntropy()(Zero(), weights, images, labels, weights[None])
            value.sum().backward()
            torch.testing.assert_close(value.detach(), torch.tensor([loss]).float())
            assert weights.grad.abs().max() <= steepest
        weights = torch.tensor([-500.0, 0.0, 0.0], requires_grad=True)
        Ascent()(Zero(), weights, images, labels, weights[None]).sum().backward()
        assert weights.grad.abs().max() > 0.9  # where the other one goes on for ever

    def test_pseudo_labels_are_those_of_the_second_model(self):
        said = NETWORK(OTHER, self.images).argmax(dim=1)
        assert (said != NETWORK(START, self.images).argmax(dim=1)).any()
        expected = functional.cross_entropy(NETWORK(START * 3, self.images), said, reduction="none")
        torch.testing.assert_close(self.losses(PseudoLabels()), expected)
        other_labels = self.losses(PseudoLabels(), (self.labels + 1) % 10)
        assert torch.equal(self.losses(PseudoLabels()), other_labels)

    @pytest.mark.parametrize("build", [Mlp((16,)), Cnn()], ids=["mlp", "cnn"])
    @pytest.mark.parametrize(
        "objective", [Ascent(), UnlearningCrossEntropy(), PseudoLabels()], ids=repr
    )
    def test_a_cohort_is_one_client_after_another(self, objective, build):
        network = Network(build, (1, 8, 8), 10)
        start, other = network.initial(1), network.initial(2)
        work = LocalWork(
            epochs=2, batch_size=16, optimizer=Sgd(0.05), clip_norm=5, objective=objective
        )
        assert decode(encode(work)) == work
        rows = together(work, start, RECORDS[:3], other, network)
        for client, (row, held) in enumerate(zip(rows, RECORDS, strict=False)):
            expected = alone(work, start, held, other, network, client)
            assert (expected - start).norm() > 1e-3
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)
