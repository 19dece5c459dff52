"""FUSED: which layers are critical, what the adapter moves, and that it can be taken away."""

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.flower import Local
from fedunlearn.history import History, Needs, Updates
from fedunlearn.methods import critical, drawn_from
from fedunlearn.models import GroupNormCnn, Mlp, Network, layers, normalises
from fedunlearn.unlearning import Access, Ledger, Request, Training
from strategies.fused import Fused
from tests.support.grid_clients import scenario_clients
from tests.support.small_federation import SMALL
from tests.support.unlearned import curve
from tests.support.world import World

NET = Network(Mlp((9, 7)), (1, 8, 8), 10)


def moved(*rows, net=NET):
    """Updates of clients who move each weight of a layer as far as their row says of it."""
    deltas = torch.zeros(len(rows), net.layout.size)
    for delta, row in zip(deltas, rows, strict=True):
        for parts, far in zip(layers(net.layout).values(), row, strict=True):
            for part in parts:
                delta[part.slice] = far
    return Updates(tuple(range(len(rows))), deltas, torch.arange(len(rows)) + 1)


def named(where, net=NET):
    return {name.split(".")[0] for name, inside in net.layout.named(where).items() if inside.all()}


class TestCritical:
    def test_is_the_layer_that_all_clients_together_move_furthest(self):
        """Public code keeps the distances of the last client of a round alone: the layer "5"."""
        updates = moved((3.0, 0.0, 1.0), (3.0, 0.0, 1.0), (0.0, 0.0, 3.0))
        assert named(critical(NET.layout, updates, 1)) == {"1"}
        assert named(critical(NET.layout, updates, 2)) == {"1", "5"}

    def test_opposite_ways_do_not_cancel_out_and_records_do_not_count(self):
        updates = moved((0.0, 2.0, 1.0), (0.0, -2.0, 1.0))
        assert named(critical(NET.layout, updates, 1)) == {"3"}

    def test_the_size_of_a_layer_does_not_matter(self):
        assert named(critical(NET.layout, moved((1.0, 1.1, 0.9)), 1)) == {"3"}

    def test_where_there_are_fewer_it_is_all_of_them_but_normalisations(self):
        net = Network(GroupNormCnn(), (1, 8, 8), 10)
        updates = Updates((0,), torch.ones(1, net.layout.size), torch.tensor([1]))
        found = critical(net.layout, updates, 99)
        norms = [parts for parts in layers(net.layout).values() if any(map(normalises, parts))]
        size = sum(part.size for parts in norms for part in parts)
        assert size
        assert int(found.sum()) == net.layout.size - size


@pytest.mark.parametrize("share", [0.001, 0.25, 1.0])
def test_a_share_is_drawn_from_what_is_given(share):
    among = torch.arange(300) % 3 == 0
    found = drawn_from(among, share, np.random.default_rng(0))
    assert int(found.sum()) == max(1, round(100 * share))
    assert not (found & ~among).any()


@pytest.fixture(scope="module")
def run():
    found = {}

    def job(connection):
        ledger = Ledger()
        clients = scenario_clients(connection, Training(), SMALL, ledger)
        network = clients.channel.proxy.network
        history = History(network.layout, network.initial(0), network.initial(1))
        strategy = Fused(layers=1, share=0.3, rounds=2)
        asked = clients.scoped(Access(frozenset({0, 2, 3}), strategy.needs, frozenset({1})))
        request = Request(frozenset({1}), 3)
        models = list(strategy.unlearn(request, history, asked))
        charges = list(ledger)
        ordinary = asked.train(history.final, round=4)
        found.update(history=history, models=models, charges=charges, ordinary=ordinary)

    Local(workers=1).run(SMALL, job)
    return found


def test_only_the_share_of_the_critical_layer_moves_and_the_rest_keeps_its_bits(run):
    before, layout = run["history"].final, run["history"].layout
    where = critical(layout, run["ordinary"], 1)
    may = round(0.3 * int(where.sum()))
    for model in run["models"]:
        changed = model != before
        assert not changed[~where].any()
        assert 0.4 * may < int(changed.sum()) <= may


def test_the_adapter_taken_away_leaves_the_old_model_to_the_bit(run):
    before, last = run["history"].final, run["models"][-1]
    adapter = last != before
    assert torch.equal(torch.where(adapter, before, last), before)


def test_only_the_adapter_travels_back_after_the_round_that_chooses_it(run):
    before, layout = run["history"].final, run["history"].layout
    may = round(0.3 * int(critical(layout, run["ordinary"], 1).sum()))
    ups = [charge.bytes_up for charge in run["charges"]]
    assert sorted(ups) == sorted([before.nbytes] * 3 + [4 * may] * 6)
    assert {charge.client for charge in run["charges"]} == {0, 2, 3}


def test_an_adapter_on_all_parameters_is_fine_tuning():
    world = World()
    models, history = curve(Fused(layers=9, share=1.0, rounds=3), [1], world)
    for rounds, found in enumerate(models, start=1):
        expected = world.formula([0, 2, 3], rounds, history.final)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_declared_and_what_is_refused():
    assert Fused().needs == Needs(remaining=True, masks=True)
    with pytest.raises(Refused, match=r"Fused\.share must be a number above 0"):
        Fused(share=0.0)
