"""Objectives with a penalty on the weights: by hand, in all engines, and where they are refused."""

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.flower import Local
from fedunlearn.local import (
    Ascent,
    Contrast,
    CrossEntropy,
    FisherPenalty,
    Imitation,
    L1Penalty,
    LocalWork,
    Sgd,
    teaches,
)
from fedunlearn.unlearning import Training
from tests.support.grid_clients import scenario_clients
from tests.support.small_federation import SMALL


def logits(weights, images):
    return images * weights


WEIGHTS, START = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0])
IMAGES, LABELS = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1])


def test_the_fisher_penalty_by_hand():
    """0.5 (3 (2 - 1)^2 + 2 (-1 - 1)^2) = 5.5 on each record's loss."""
    sent = torch.stack([START, torch.tensor([3.0, 2.0])])
    found = FisherPenalty(CrossEntropy(), 0.5)(logits, WEIGHTS, IMAGES, LABELS, sent)
    plain = CrossEntropy()(logits, WEIGHTS, IMAGES, LABELS, sent)
    torch.testing.assert_close(found, plain + 5.5)


def test_the_l1_penalty_by_hand():
    """0.5 (|2| + |-1|) = 1.5 on each record's loss."""
    found = L1Penalty(CrossEntropy(), 0.5)(logits, WEIGHTS, IMAGES, LABELS, START[None])
    plain = CrossEntropy()(logits, WEIGHTS, IMAGES, LABELS, START[None])
    torch.testing.assert_close(found, plain + 1.5)
    assert teaches(L1Penalty(Imitation()))
    assert not teaches(L1Penalty())


def test_what_imitates_a_second_model_has_no_room_for_the_penalty_s_weights():
    with pytest.raises(Refused, match=r"FisherPenalty\.objective must not imitate"):
        FisherPenalty(Imitation())


@pytest.mark.parametrize(
    "objective",
    [
        FisherPenalty(Ascent(), 5.0),
        L1Penalty(CrossEntropy(0.1), 0.01),
        FisherPenalty(Contrast(1.0, tuple(range(20))), 5.0),
        Contrast(1.0, tuple(range(20))),
    ],
    ids=lambda one: type(one).__name__,
)
def test_engines_agree(objective):
    found = {}
    work = LocalWork(epochs=1, clip_norm=1.0, optimizer=Sgd(lr=0.02), objective=objective)
    for mode in ("workers", "cohort"):

        def job(connection, mode=mode):
            clients = scenario_clients(connection, Training(), SMALL)
            network = clients.channel.proxy.network
            other = network.initial(2).square()
            found[mode] = clients.train(network.initial(1), work=work, round=1, other=other)

        Local(workers=2, mode=mode).run(SMALL, job)
    torch.testing.assert_close(
        found["workers"].deltas, found["cohort"].deltas, rtol=1e-4, atol=1e-5
    )
    assert found["workers"].deltas.any()
