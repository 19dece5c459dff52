"""Class weights and smoothed labels: torch's own loss, in either way of training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.local import (
    CrossEntropy,
    DiagonalFisher,
    Distillation,
    LocalWork,
    Proximal,
    Sgd,
    train_locally,
)
from fedunlearn.local.class_weights import weighed
from fedunlearn.models import Mlp, Network
from tests.support.cohorts import RAGGED, both, world

NETWORK = Network(Mlp((16,)), (1, 8, 8), 10)
LISTED = tuple(0.5 + place / 4 for place in range(10))
WORKS = {
    "listed": LocalWork(epochs=2, batch_size=8, class_weights=LISTED),
    "balanced": LocalWork(epochs=2, batch_size=8, class_weights="balanced"),
    "smoothed": LocalWork(epochs=2, objective=CrossEntropy(label_smoothing=0.2)),
    "all with fedprox": LocalWork(
        epochs=2, class_weights="balanced", objective=Proximal(0.5, label_smoothing=0.1)
    ),
    "single records": LocalWork(
        epochs=2,
        class_weights=LISTED,
        objective=CrossEntropy(label_smoothing=0.1),
        optimizer=DiagonalFisher(0.003, power=0.5),
    ),
    "clipped": LocalWork(epochs=2, class_weights="balanced", clip_norm=0.05),
}


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_all_clients_at_once_are_one_after_another(work):
    together, alone = both(work, dtype=torch.float64)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_the_choice_changes_what_is_learnt(work):
    plain = replace(work, class_weights=None, objective=CrossEntropy())
    assert not torch.allclose(both(work, rounds=1)[1], both(plain, rounds=1)[1], rtol=1e-3)


def by_torch(records, start, work, rng, loss, clip=None):
    """The same work as a loop in plain PyTorch."""
    module = NETWORK.module(seed=0)
    module.load_state_dict(NETWORK.layout.named(start))
    optimizer = torch.optim.SGD(module.parameters(), work.optimizer.lr, momentum=0.9)
    order = torch.from_numpy(work.order(len(records), rng))
    for rows in torch.split(order, work.sizes(len(records))):
        optimizer.zero_grad()
        loss(module(records.inputs[rows]), records.labels[rows]).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
    return NETWORK.layout.flatten(module.state_dict())


def balanced(labels):
    counts = torch.bincount(labels, minlength=10)
    return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts), 1.0)


@pytest.mark.parametrize("engine", ["one by one", "together"])
@pytest.mark.parametrize(
    ("work", "loss"),
    [
        (
            LocalWork(epochs=2, batch_size=8, class_weights=LISTED),
            lambda labels: torch.nn.CrossEntropyLoss(torch.tensor(LISTED)),
        ),
        (
            LocalWork(epochs=2, batch_size=8, class_weights="balanced"),
            lambda labels: torch.nn.CrossEntropyLoss(balanced(labels)),
        ),
        (
            LocalWork(epochs=2, batch_size=8, objective=CrossEntropy(label_smoothing=0.2)),
            lambda labels: torch.nn.CrossEntropyLoss(label_smoothing=0.2),
        ),
        (
            LocalWork(epochs=2, batch_size=8, clip_norm=0.3, optimizer=Sgd(0.1)),
            lambda labels: torch.nn.CrossEntropyLoss(),
        ),
    ],
    ids=["listed", "balanced", "smoothed", "clipped"],
)
def test_it_is_what_a_plain_loop_of_torch_does(work, loss, engine):
    records, start = world(RAGGED, NETWORK)
    found = both(work, rounds=1)[engine == "one by one"]
    for client, held in enumerate(records):
        rng = np.random.default_rng([5, client])
        expected = by_torch(held, start, work, rng, loss(held.labels), work.clip_norm)
        torch.testing.assert_close(found[client], expected, rtol=1e-4, atol=1e-6)


def test_balanced_weights_give_every_class_of_a_client_the_same_sum():
    labels = torch.tensor([3, 3, 3, 0, 7, 7])
    counts = weighed(labels, "balanced")
    sums = torch.zeros(8, dtype=torch.float64).index_add_(0, labels, counts)
    torch.testing.assert_close(sums[[0, 3, 7]], torch.full((3,), 2.0, dtype=torch.float64))


def test_equal_weights_are_none():
    records, start = world(RAGGED, NETWORK, torch.float64)
    for held in records:
        plain, equal = (
            train_locally(
                *(NETWORK, start, held.inputs, held.labels),
                *(LocalWork(epochs=1, class_weights=weights), 1, np.random.default_rng(1)),
            ).weights
            for weights in (None, (3.0,) * 10)
        )
        torch.testing.assert_close(plain, equal, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: LocalWork(class_weights="even"), "must be balanced, a list of a number for each"),
        (lambda: LocalWork(class_weights=[]), "must be balanced, a list"),
        (lambda: LocalWork(class_weights=[1, 0]), r"class_weights\[1\] must be a number above 0"),
        (lambda: CrossEntropy(label_smoothing=1), "label_smoothing must be a number .* below 1"),
        (
            lambda: LocalWork(class_weights="balanced", objective=Distillation()),
            "class_weights must be null: a teacher answers",
        ),
        (lambda: weighed(torch.tensor([0, 2]), (1.0, 2.0)), "has 2 numbers, .* of class 2"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(Refused, match=sentence):
        wrong()
