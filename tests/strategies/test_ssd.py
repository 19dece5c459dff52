"""SSD: which weights are dampened, by how much, and what public code gets wrong."""

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.methods import mean_square
from strategies.ssd import Ssd
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import World


def squares(world, ids, weights):
    """The mean squared gradient of -log softmax over the records of some clients, by autograd."""
    network, total, count = world.here.network, torch.zeros_like(weights), 0
    for client in ids:
        held = world.here.train[client]
        for image, label in zip(held.inputs, held.labels, strict=True):
            leaf = weights.clone().requires_grad_()
            loss = torch.nn.functional.cross_entropy(network(leaf, image[None]), label[None])
            (gradient,) = torch.autograd.grad(loss, leaf)
            total, count = total + gradient.square(), count + 1
    return total / count


@pytest.mark.parametrize(("alpha", "dampening"), [(1.0, 1.0), (0.5, 0.3), (2.0, 1.0)])
def test_what_matters_more_to_the_leavers_is_dampened_as_the_equation_says(alpha, dampening):
    world = World(sizes=(3, 4, 5, 6))
    (found,), history = curve(Ssd(alpha, dampening), [1], world)
    weights = history.final
    gone, kept = squares(world, [1], weights), squares(world, [0, 2, 3], weights)
    chosen = gone > alpha * kept
    assert chosen.any()
    expected = torch.where(chosen, weights * (dampening * kept / gone).clamp_max(1), weights)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(found[~chosen], weights[~chosen])


def test_displacement_is_told_by_the_updates_and_asks_nobody():
    strategy = Ssd(1.0, importance="displacement")
    assert asked_of_clients(strategy) == 0
    (found,), history = curve(strategy, [1])
    own = torch.stack([r.only({1}).updates.deltas[0] for r in history]).mean(0).abs()
    rest = torch.cat([r.without({1}).updates.deltas for r in history]).mean(0).abs()
    weights = history.final
    expected = torch.where(own > rest, weights * (rest / own).clamp_max(1), weights)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_it_is_the_leavers_side_that_dampens():
    """Public code of the displacement form swaps the sides: then the rest's own weights go."""
    (found,), history = curve(Ssd(1.0, importance="displacement"), [1])
    (other,), _ = curve(Ssd(1.0, importance="displacement"), [0, 2, 3])
    assert not torch.equal(found, other)
    changed = found != history.final
    assert changed.any()
    assert (found.abs() <= history.final.abs() + 1e-7).all()


def test_a_weight_that_never_moved_stays_and_nothing_is_divided_by_zero():
    world = World(sizes=(3, 4))
    (found,), history = curve(Ssd(1e-9, importance="displacement"), [1], world)
    assert found.isfinite().all()
    assert mean_square({}, history.final).tolist() == [0.0] * 6


def test_alpha_beyond_all_ratios_changes_nothing():
    (found,), history = curve(Ssd(1e30), [1])
    assert torch.equal(found, history.final)


def test_wrong_values_are_refused():
    with pytest.raises(Refused, match=r"Ssd\.alpha must be a number above 0"):
        Ssd(alpha=0)
    with pytest.raises(Refused, match=r"Ssd\.importance"):
        Ssd(importance="fischer")
