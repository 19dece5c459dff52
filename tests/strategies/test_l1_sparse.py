"""l1-sparse: the penalty's schedule and slope in closed form, and what is left without it."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from strategies.finetune import FineTune
from strategies.l1_sparse import L1Sparse
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import RATE, WORK, World


def test_the_penalty_fades_in_equal_steps_and_the_last_rounds_are_free():
    """R = 6, K = 2: 1, 3/4, 1/2, 1/4, 0, 0 of lambda; in the first round all of it."""
    world = World()
    models, history = curve(L1Sparse(0.3, rounds=6, free=2), [1], world)
    sizes = torch.tensor([10.0, 30.0, 40.0], dtype=torch.float64)
    targets = [world.here.train[i].inputs[0].flatten().double() for i in (0, 2, 3)]
    weights = history.final.double()
    for found, share in zip(models, [1, 0.75, 0.5, 0.25, 0, 0], strict=True):
        ends = []
        for target in targets:
            local = weights
            for _ in range(WORK.epochs):
                local = local - RATE * (local - target + 0.3 * share * local.sign())
            ends.append(local)
        weights = (sizes / sizes.sum()) @ torch.stack(ends)
        torch.testing.assert_close(found, weights.float(), rtol=1e-4, atol=1e-5)


def test_without_strength_it_is_fine_tuning():
    models, _ = curve(L1Sparse(0.0, rounds=3, free=0), [1])
    tuned, _ = curve(FineTune(3), [1])
    assert all(map(torch.equal, models, tuned))


def test_the_penalty_shortens_the_model():
    norms = [curve(L1Sparse(s, rounds=3, free=0), [1])[0][0].abs().sum() for s in (0.0, 0.1, 0.3)]
    assert norms[0] > norms[1] > norms[2]


def test_own_work_keeps_its_objective_under_the_penalty():
    work = replace(WORK, epochs=1)
    (found,), history = curve(L1Sparse(0.0, rounds=1, free=0, work=work), [1])
    expected = World().formula([0, 2, 3], 1, history.final, epochs=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_only_those_who_remain_are_asked():
    assert asked_of_clients(L1Sparse(rounds=3, free=1)) == 3 * 3
    assert L1Sparse().needs == Needs(remaining=True)


def test_a_run_that_would_have_no_penalty_is_refused():
    """Public code fine-tunes there, without a word."""
    with pytest.raises(Refused, match=r"L1Sparse\.free must be below rounds=2"):
        L1Sparse(rounds=2, free=2)
    with pytest.raises(Refused, match=r"L1Sparse\.strength must be a number at least 0"):
        L1Sparse(strength=-1)
