"""Many clients in one batch must be the same as one after another."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fedunlearn.data import Records, Shards
from fedunlearn.local import (
    Adam,
    CrossEntropy,
    Distillation,
    LocalWork,
    Proximal,
    Schedule,
    Sgd,
    train_locally,
)
from fedunlearn.local.batches import LEAST_FILLED, groups
from fedunlearn.local.cohort import train_cohort
from fedunlearn.models import Cnn, Mlp, Network
from tests.support.cohorts import RAGGED, both, rngs, world
from tests.support.world import Scaled


@dataclass(frozen=True)
class Towards:
    """Pulls to the second model that the server sent, away from the first."""

    def __call__(self, network, weights, images, labels, sent):
        start, other = sent
        losses = CrossEntropy()(network, weights, images, labels, sent)
        return losses + (weights - other).square().sum() - (weights - start).square().sum() / 2


@pytest.mark.parametrize("one_each", [False, True])
def test_a_second_model_reaches_the_objective_of_every_client(one_each):
    network = Network(Mlp((16,)), (1, 8, 8), 10)
    records, start = world(RAGGED, network)
    other, work = network.initial(9), LocalWork(epochs=1, objective=Towards())
    starts = start.expand(len(records), -1).contiguous() if one_each else start
    shards = Shards.of(records)
    together = train_cohort(
        network, starts, shards, range(len(records)), work, 1, rngs(len(records)), other
    ).weights
    for row, held, rng in zip(together, records, rngs(len(records)), strict=True):
        alone = train_locally(network, start, held.inputs, held.labels, work, 1, rng, other).weights
        torch.testing.assert_close(row, alone)
    assert (together - other).norm() < (start - other).norm() * len(records) ** 0.5


WORKS = {
    "momentum": LocalWork(epochs=2, optimizer=Sgd(0.1, momentum=0.9)),
    "nesterov and decay": LocalWork(
        epochs=2,
        schedule=Schedule("exponential", decay=0.7),
        optimizer=Sgd(0.1, weight_decay=0.01, nesterov=True),
    ),
    "adam": LocalWork(epochs=2, optimizer=Adam(0.01, weight_decay=0.1)),
    "fedprox": LocalWork(epochs=3, objective=Proximal(mu=0.5)),
    "clipped": LocalWork(epochs=2, clip_norm=0.05),
    "small batches": LocalWork(epochs=1, batch_size=5),
    "few batches": LocalWork(epochs=3, batch_size=8, batches=4),
    "one batch": LocalWork(epochs=4, batch_size=1000),
}


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_equals_one_client_after_another(work):
    together, alone = both(work)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_equals_it_to_the_last_digits_in_float64(work):
    together, alone = both(work, dtype=torch.float64)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-13)


def test_convolutions_and_equal_sizes():
    network = Network(Cnn(), (1, 8, 8), 10)
    together, alone = both(WORKS["momentum"], (20, 20, 20), network, rounds=1)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_buffers_stay_as_they_came():
    network = Network(lambda shape, classes: Scaled(), (1, 8, 8), 10)
    together, alone = both(
        LocalWork(epochs=1, optimizer=Sgd(0.1, weight_decay=0.5)), network=network
    )
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert (network.layout.named(together)["scale"] == 2).all()


def test_the_order_of_clients_does_not_matter_and_some_may_be_absent():
    network = Network(Mlp((16,)), (1, 8, 8), 10)
    records, start = world(RAGGED, network)
    work, mixed, shards = WORKS["momentum"], [3, 0, 6, 1, 5], Shards.of(records)
    straight = train_cohort(network, start, shards, range(7), work, 1, rngs(7)).weights
    streams = rngs(7)
    shuffled = train_cohort(
        network, start, shards, mixed, work, 1, [streams[client] for client in mixed]
    ).weights
    torch.testing.assert_close(shuffled, straight[mixed], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_every_client_may_start_from_a_model_of_its_own(work):
    network = Network(Mlp((16,)), (1, 8, 8), 10)
    records, start = world(RAGGED, network, torch.float64)
    starts = torch.stack([start * (1 + client / 10) for client in range(len(RAGGED))])
    together = train_cohort(network, starts, Shards.of(records), range(7), work, 2, rngs(7)).weights
    for row, own, held, rng in zip(together, starts, records, rngs(7), strict=True):
        alone = train_locally(network, own, held.inputs, held.labels, work, 2, rng).weights
        torch.testing.assert_close(row, alone, rtol=1e-12, atol=1e-13)


def test_every_record_is_seen_once_an_epoch_and_padding_is_bounded():
    work = LocalWork(epochs=2, batch_size=32)
    sizes = sorted(RAGGED, key=lambda size: -(-size // 32), reverse=True)
    offsets = np.cumsum([0, *sizes])
    orders = [
        work.order(n, rng) + offset
        for n, rng, offset in zip(sizes, rngs(len(sizes)), offsets, strict=False)
    ]
    seen, padded, total, busy = np.zeros(sum(sizes)), 0, 0, []
    for step in groups(orders, [work.sizes(n) for n in sizes], torch.device("cpu")):
        busy.append(sum(len(group.records) for group in step))
        for group in step:
            real = group.weights > 0
            np.add.at(seen, group.records[real].numpy(), 1)
            torch.testing.assert_close(group.weights.sum(1), torch.ones(len(real)).double())
            owner = torch.arange(len(sizes))[group.clients][:, None].expand(real.shape)
            inside = np.searchsorted(offsets, group.records.numpy(), side="right") - 1
            assert (inside == owner.numpy()).all()  # padding, too, comes from the client's own
            padded += int((~real).sum())
            total += real.numel()
    assert (seen == 2).all()
    assert busy == sorted(busy, reverse=True)
    assert 0 < padded <= (1 - LEAST_FILLED) * total


def test_distillation_takes_logits_for_labels():
    network = Network(Mlp((16,)), (1, 8, 8), 10)
    records, start = world((20, 20), network)
    taught = [Records(r.inputs, torch.randn(20, 10)) for r in records]
    work = LocalWork(epochs=2, objective=Distillation())
    together = train_cohort(network, start, Shards.of(taught), range(2), work, 1, rngs(2)).weights
    for row, held, rng in zip(together, taught, rngs(2), strict=True):
        alone = train_locally(network, start, held.inputs, held.labels, work, 1, rng).weights
        torch.testing.assert_close(row, alone, rtol=1e-5, atol=1e-6)
