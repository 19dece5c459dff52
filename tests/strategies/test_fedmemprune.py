"""FedMemPrune: what one round leaves alone is drawn anew, and nothing else."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.flower import Local
from fedunlearn.history import History, Needs
from fedunlearn.methods import besides_norms
from fedunlearn.models import GroupNormCnn, layers, normalises
from fedunlearn.unlearning import Access, Ledger, Request, Training, fedavg_step
from strategies.fedmemprune import FedMemPrune
from tests.support.grid_clients import scenario_clients
from tests.support.small_federation import SMALL
from tests.support.unlearned import curve
from tests.support.world import World


def test_the_least_moved_are_drawn_anew_and_the_rest_makes_an_ordinary_step():
    world = World()
    (found,), history = curve(FedMemPrune(0.5), [1], world)
    stepped = world.formula([0, 2, 3], 1, history.final)
    moved = (stepped - history.final).abs()
    redrawn = torch.zeros(6, dtype=torch.bool)
    redrawn[moved.argsort()[:3]] = True
    torch.testing.assert_close(found[~redrawn], stepped[~redrawn], rtol=1e-4, atol=1e-5)
    assert (found[redrawn] != stepped[redrawn]).all()
    bounds = torch.tensor([2.0, 2, 4, 4, 4, 4]).rsqrt()  # vectors of two and of four numbers
    assert (found[redrawn].abs() <= bounds[redrawn]).all()


def test_a_share_of_nothing_is_a_round_of_fine_tuning():
    world = World()
    (found,), history = curve(FedMemPrune(0.0), [1], world)
    torch.testing.assert_close(found, world.formula([0, 2, 3], 1, history.final))


@pytest.fixture(scope="module")
def normed():
    """What becomes of a net with normalisations, nine tenths of which are to be drawn anew."""
    scenario = replace(SMALL, model=GroupNormCnn())
    here, found = build_federation(scenario), {}

    def job(connection):
        clients = scenario_clients(connection, Training(), scenario, Ledger())
        layout, strategy = here.network.layout, FedMemPrune(0.9)
        history = History(layout, here.initial, here.network.initial(1))
        asked = clients.scoped(Access(frozenset({0, 2, 3}), strategy.needs, frozenset({1})))
        step = fedavg_step(asked.train(history.final, round=4))
        (after,) = strategy.unlearn(Request(frozenset({1}), 3), history, asked)
        found.update(layout=layout, step=step, before=history.final + step, after=after)

    Local(workers=1).run(scenario, job)
    return found


def test_normalisations_take_the_step_like_all_that_moves(normed):
    """Public code draws their scales anew, within 0.1 of 0, and whole channels fall silent."""
    found = 0
    for parts in layers(normed["layout"]).values():
        if any(map(normalises, parts)):
            for part in parts:
                assert torch.equal(normed["after"][part.slice], normed["before"][part.slice])
                found += 1
    assert found


def test_just_the_share_of_all_others_is_drawn(normed):
    pool = besides_norms(normed["layout"])
    changed = normed["after"] != normed["before"]
    count = round(0.9 * int(pool.sum()))
    assert 0.999 * count < int(changed.sum()) <= count
    assert not changed[~pool].any()
    moved = normed["step"].abs()
    assert moved[changed].max() <= moved[pool].sort().values[count - 1]


@pytest.mark.parametrize("kind", [4, 2], ids=["convolutions", "linear"])
def test_he_s_bound_holds_for_weights(normed, kind):
    before, after = normed["before"], normed["after"]
    for part in normed["layout"].parts:
        if len(part.shape) == kind:
            bound = (6 / part.shape[1:].numel()) ** 0.5
            drawn = after[part.slice][after[part.slice] != before[part.slice]].abs()
            assert 0.9 * bound < drawn.max() <= bound


def test_what_is_declared_and_what_is_refused():
    assert FedMemPrune().needs == Needs(remaining=True)
    with pytest.raises(Refused, match=r"FedMemPrune\.share must be a number at least 0"):
        FedMemPrune(share=1.2)
    with pytest.raises(Refused, match=r"FedMemPrune\.spread must be a number above 0"):
        FedMemPrune(spread=0.0)
