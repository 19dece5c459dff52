"""GDFA: runs from around the model in closed form, and what is taken back of them."""

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import LocalWork, Sgd
from strategies.gdfa import Gdfa
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import HalfSquare, World

STEP = LocalWork(
    epochs=2, batch_size=1000, optimizer=Sgd(lr=0.1, momentum=0), objective=HalfSquare()
)


def learnt(world, ids, start):
    """The leavers' mean update from ``start``: two steps towards their targets."""
    sizes = torch.tensor([len(world.here.train[i]) for i in ids]).float()
    targets = torch.stack([world.here.train[i].inputs[0].flatten() for i in ids])
    return (1 - 0.9**2) * ((sizes / sizes.sum()) @ targets - start)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_without_a_radius_it_takes_back_what_the_leavers_would_learn(scale):
    world = World()
    (found,), history = curve(Gdfa(radius=0.0, scale=scale, work=STEP), [1, 2], world)
    before = history.final
    expected = before - scale * learnt(world, [1, 2], before)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_only_leads_back_to_the_model_cancels_out():
    """All parameters of this net are one layer, so that two runs start at w + v and w - v."""
    world = World()
    (found,), history = curve(Gdfa(models=2, radius=5.0, scale=1.0, work=STEP), [1], world)
    before = history.final
    task = before - found
    toward = learnt(world, [1], before)
    # the runs learn toward - 0.19 v and toward + 0.19 v: where v is larger they disagree
    kept = task != 0
    assert not kept.all()
    torch.testing.assert_close(task[kept], toward[kept], rtol=1e-3, atol=1e-4)


def test_the_places_are_the_server_s_draw_and_the_same_in_every_run():
    first, second = (curve(Gdfa(work=STEP), [1])[0][0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_leaver_is_asked_once_for_a_gradient_and_once_a_place():
    assert asked_of_clients(Gdfa(models=6)) == 7


def test_what_is_declared_and_what_is_refused():
    assert Gdfa().needs == Needs(leaver=True)
    with pytest.raises(Refused, match=r"Gdfa\.models must be even, .* not 3"):
        Gdfa(models=3)
    with pytest.raises(Refused, match=r"Gdfa\.radius must be a number at least 0"):
        Gdfa(radius=-1.0)
