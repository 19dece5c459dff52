"""NegGrad+: the balance of both directions in closed form."""

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.unlearning import Ascent
from strategies.neggrad import NegGrad
from tests.support.unlearned import curve
from tests.support.world import HalfSquare, World

AWAY = LocalWork(
    epochs=1, batch_size=1000, optimizer=Sgd(lr=0.1, momentum=0), objective=HalfSquare()
)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_a_round_is_the_weighted_sum_of_both_means(alpha):
    """Two leavers of other sizes; each mean is weighted by records, both by alpha."""
    world = World()
    models, history = curve(NegGrad(alpha, rounds=2, work=AWAY), [1, 2], world)
    weights = history.final
    sizes = torch.tensor([20.0, 30.0])
    targets = torch.stack([world.here.train[i].inputs[0].flatten() for i in (1, 2)])
    for found in models:
        down = world.formula([0, 3], 1, weights) - weights
        leaving = (sizes / sizes.sum()) @ (0.1 * (targets - weights))
        weights = weights + alpha * down + (1 - alpha) * leaving
        torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-5)


def test_the_default_work_ascends_and_is_clipped():
    work = NegGrad().work
    assert work.objective == Ascent()
    assert work.clip_norm is not None


def test_a_balance_outside_is_refused():
    with pytest.raises(Refused, match=r"NegGrad\.alpha must be a number at least 0 and at most 1"):
        NegGrad(alpha=1.1)
