"""SGA in closed form: the way up, its mirror image, and what holds the others' knowledge."""

from dataclasses import dataclass, replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import Ball, LocalWork, Sgd, SquaredGradients
from fedunlearn.methods import Climb, Consolidation, Reflect
from strategies.sga import Sga
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import RATE, HalfSquare, World


@dataclass(frozen=True)
class Away:
    """Half the square upside down."""

    def __call__(self, network, weights, images, labels, sent):
        return -HalfSquare()(network, weights, images, labels, sent)


DOWN = LocalWork(4, 1000, optimizer=Sgd(RATE, momentum=0), objective=HalfSquare())
UP = replace(DOWN, objective=Away())
FAR = 1e6
PROTECT = Consolidation(0.4, SquaredGradients(HalfSquare()))


def target(world, client):
    return world.here.train[client].inputs[0].flatten()


def mean_square(world, ids, weights):
    """F: the mean over records, not over clients, of ``(w - t)^2``."""
    sizes = torch.tensor([len(world.here.train[i]) for i in ids], dtype=torch.float64)
    squares = torch.stack([(weights - target(world, i)).double().square() for i in ids])
    return (sizes / sizes.sum()) @ squares


def walked(world, start, client, sign, fisher=None, strength=0.0):
    """Four steps on ``sign |w - t|^2 / 2 + lambda sum F (w - start)^2``."""
    weights, away = start.double(), torch.zeros_like(start, dtype=torch.float64)
    fisher = away if fisher is None else fisher
    for _ in range(4):
        pull = 2 * strength * fisher * (weights - start)
        weights = weights - RATE * (sign * (weights - target(world, client)) + pull)
    return weights


def test_ascent_follows_its_equation_and_the_mean_is_by_records():
    world = World()
    (found,), history = curve(Sga(Climb(FAR, UP)), [1, 2], world)
    ends = [walked(world, history.final, i, -1) for i in (1, 2)]
    expected = (20 * ends[0] + 30 * ends[1]) / 50
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("radius", [0.01, 0.05])
def test_ascent_ends_in_the_ball(radius):
    """Public code lets it run: 40 steps of it are far outside."""
    long = replace(UP, epochs=40)
    (found,), history = curve(Sga(Climb(radius, long)), [1])
    way = (history.final - history.initial).norm()
    torch.testing.assert_close((found - history.final).norm(), radius * way)
    (free,), _ = curve(Sga(Climb(FAR, long)), [1])
    assert (free - history.final).norm() > 10 * radius * way


def test_reflected_is_twice_the_start_less_the_end():
    world = World()
    (found,), history = curve(Sga(Reflect(DOWN)), [1], world)
    end = walked(world, history.final, 1, 1)
    expected = 2 * history.final.double() - end
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)
    # So however long the descent, the model goes no farther than the leaver's optimum is.
    (longest,), _ = curve(Sga(Reflect(replace(DOWN, epochs=300))), [1], world)
    torch.testing.assert_close(longest, 2 * history.final - target(world, 1))


def test_for_one_step_both_directions_are_the_same():
    up, down = (replace(work, epochs=1) for work in (UP, DOWN))
    (climbed,), _ = curve(Sga(Climb(FAR, up)), [1])
    (reflected,), _ = curve(Sga(Reflect(down)), [1])
    torch.testing.assert_close(climbed, reflected)


@pytest.mark.parametrize(
    ("direction", "loss", "sign"), [(Climb(FAR, UP), -1, 1), (Reflect(DOWN), 1, -1)]
)
def test_the_penalty_is_weighted_by_what_the_others_need(direction, loss, sign):
    """A public port takes F from the leaver's records, and as a sum that grows with them."""
    world = World()
    (found,), history = curve(Sga(direction, PROTECT), [1], world)
    weights = history.final
    fisher = mean_square(world, [0, 2, 3], weights)
    step = walked(world, weights, 1, loss, fisher, 0.4) - weights.double()
    torch.testing.assert_close(found, (weights + sign * step).float(), rtol=1e-4, atol=1e-5)
    own = mean_square(world, [1], weights)
    other = walked(world, weights, 1, loss, own, 0.4) - weights.double()
    assert not torch.allclose(step, other, rtol=1e-2)


def test_what_is_protected_moves_less_and_a_weak_penalty_changes_nothing():
    (free,), history = curve(Sga(Climb(FAR, UP)), [1])
    (weak,), _ = curve(Sga(Climb(FAR, UP), replace(PROTECT, strength=1e-9)), [1])
    torch.testing.assert_close(weak, free)
    (held,), _ = curve(Sga(Climb(FAR, UP), PROTECT), [1])
    moved, less = (free - history.final).abs(), (held - history.final).abs()
    assert (less < moved).all()


def test_only_who_must_is_asked():
    assert Sga().needs == Needs(leaver=True)
    assert Sga(protect=Consolidation()).needs == Needs(leaver=True, remaining=True)
    assert asked_of_clients(Sga()) == 1
    assert asked_of_clients(Sga(protect=Consolidation())) == 4


def test_wrong_parts_are_refused():
    with pytest.raises(Refused, match=r"Climb\.work\.bound must be null"):
        Climb(work=replace(UP, bound=Ball(1.0)))
    with pytest.raises(Refused, match=r"Climb\.radius must be a number above 0"):
        Climb(radius=0)
    with pytest.raises(Refused, match=r"Sga\.direction must be a part .* Direction"):
        Sga(direction="up")
    with pytest.raises(Refused, match=r"Consolidation\.strength must be a number above 0"):
        Consolidation(strength=0)
