"""FedUP: which weights are cut, how many, and what the likeness of clients is read from."""

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import History, Needs, Round, Updates
from fedunlearn.methods import last_layer, likeness
from fedunlearn.models import GroupNormCnn, Mlp, Network, layers, normalises
from fedunlearn.unlearning import Request
from strategies.fedup import FedUP
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import World

REQUEST = Request(frozenset({1}), 3)


def network(build=None):
    return Network(build or Mlp((9,)), (1, 8, 8), 10)


def course(net, updates, before=None):
    """A history whose only round led from ``before`` to the mean of what the clients sent."""
    start = net.initial(1) if before is None else before
    done = Round.of(3, start, updates)
    return History(net.layout, net.initial(0), start + done.share(set(updates.clients)), (done,))


def sent(net, clients=4, size=0.01, seed=0):
    rows = torch.randn(clients, net.layout.size, generator=torch.Generator().manual_seed(seed))
    return Updates(tuple(range(clients)), size * rows, torch.arange(clients) + 2)


def unlearned(strategy, history, request=REQUEST):
    (found,) = strategy.unlearn(request, history, None)
    return found


def rest_of(history):
    """The weighted mean model of clients 0, 2 and 3, and client 1's, written again."""
    (done,) = history.rounds
    models = done.before + done.updates.deltas
    weights = done.updates.examples[[0, 2, 3]].float()
    return (weights / weights.sum()) @ models[[0, 2, 3]], models[1]


@pytest.mark.parametrize("share", [0.01, 0.15, 0.5])
def test_the_top_of_each_layer_is_cut_and_the_rest_is_the_others_mean(share):
    net = network()
    history = course(net, sent(net))
    found = unlearned(FedUP(share, share), history)
    kept, own = rest_of(history)
    rank = (own - kept).square() * history.final.abs()
    for part in net.layout.parts:
        ranks, after, before = rank[part.slice], found[part.slice], kept[part.slice]
        cut = after == 0
        if part.name.endswith("bias"):
            assert not cut.any()
        else:
            assert int(cut.sum()) == round(share * part.size)
            assert ranks[cut].min() >= ranks[~cut].max()
        torch.testing.assert_close(after[~cut], before[~cut])


def test_normalisations_are_not_cut():
    net = network(GroupNormCnn())
    history = course(net, sent(net))
    found = unlearned(FedUP(0.9, 0.9), history)
    norms = [parts for parts in layers(net.layout).values() if any(map(normalises, parts))]
    assert norms
    kept, _ = rest_of(history)
    for parts in norms:
        for part in parts:
            torch.testing.assert_close(found[part.slice], kept[part.slice])


@pytest.mark.parametrize(
    ("alike", "expected"), [(1.0, 0.15), (0.5, 0.01), (-1.0, 0.01), (0.75, 0.14 / 32 + 0.01)]
)
def test_how_much_is_cut_follows_from_how_alike_the_others_are(alike, expected):
    assert FedUP().share(alike) == pytest.approx(expected)


class TestLikeness:
    def test_is_the_mean_cosine_of_each_two_on_the_last_layer(self):
        net = network()
        updates = sent(net, size=1.0)
        history = course(net, updates)
        (done,) = history.rounds
        rest, where = done.without({1}), last_layer(net.layout)
        after = rest_of(history)[0]
        models = (done.before + done.updates.deltas)[[0, 2, 3]][:, where]
        pairs = [(0, 1), (0, 2), (1, 2)]
        cosines = [torch.cosine_similarity(models[i], models[j], dim=0) for i, j in pairs]
        assert likeness(rest, after, where) == pytest.approx(float(sum(cosines)) / 3, abs=1e-5)

    def test_the_last_layer_is_its_weight_and_its_bias(self):
        net = network()
        named = net.layout.named(last_layer(net.layout))
        assert {name for name, inside in named.items() if inside.any()} == {"3.weight", "3.bias"}
        assert last_layer(net.layout).sum() == 9 * 10 + 10

    def test_biases_that_are_alike_do_not_hide_weights_that_are_not(self):
        """A public port compares the last tensor, the bias: here that would cut P_max."""
        net = network()
        updates = sent(net, size=1.0)
        bias, weight = (
            next(part for part in net.layout.parts if part.name == name)
            for name in ("3.bias", "3.weight")
        )
        updates.deltas[:, bias.slice] = 0.001
        start = net.initial(1)
        start[bias.slice] = 1.0
        found = unlearned(FedUP(most=0.5, least=0.1), course(net, updates, start))
        assert int((found[weight.slice] == 0).sum()) == round(0.1 * weight.size)

    def test_a_single_one_who_remains_is_like_nobody(self):
        net = network()
        history = course(net, sent(net, clients=2))
        found = unlearned(FedUP(most=0.5, least=0.1), history)
        first = net.layout.parts[0]
        assert int((found[first.slice] == 0).sum()) == round(0.1 * first.size)


def test_without_cutting_it_is_the_mean_of_those_who_remain():
    world = World()
    (found,), _ = curve(FedUP(0.0, 0.0), [1], world)
    with world.open() as clients:
        before = world.trained(clients).history.rounds[-1].before
    torch.testing.assert_close(found, world.formula([0, 2, 3], 1, before), rtol=1e-4, atol=1e-5)


def test_leavers_of_several_last_rounds_count_by_records():
    net = network()
    first, last = sent(net, seed=1), sent(net, seed=2).without({2})
    start = net.initial(1)
    rounds = (Round.of(2, start, first), Round.of(3, start, last))
    history = History(net.layout, net.initial(0), start, rounds)
    found = unlearned(FedUP(0.2, 0.2), history, Request(frozenset({1, 2}), 3))
    apart = 0
    for updates, row, records in [(last, 1, 3), (first, 2, 4)]:
        rest = [row for row, client in enumerate(updates.clients) if client in {0, 3}]
        weights = updates.examples[rest].float()
        others = (weights / weights.sum()) @ updates.deltas[rest]
        apart = apart + records / 7 * (updates.deltas[row] - others)
    rank = apart.square() * start.abs()
    part = net.layout.parts[0]
    cut = found[part.slice] == 0
    assert int(cut.sum()) == round(0.2 * part.size)
    assert rank[part.slice][cut].min() >= rank[part.slice][~cut].max() * (1 - 1e-4)


def test_a_leaver_who_never_took_part_changes_nothing():
    net = network()
    history = course(net, sent(net).without({1}))
    assert torch.equal(unlearned(FedUP(), history), history.final)


def test_what_is_declared_and_what_is_refused():
    assert FedUP().needs == Needs(updates=True)
    assert asked_of_clients(FedUP()) == 0
    with pytest.raises(Refused, match=r"FedUP\.least must be at most most=0\.01"):
        FedUP(most=0.01, least=0.1)
    with pytest.raises(Refused, match=r"FedUP\.most must be a number at least 0 and at most 1"):
        FedUP(most=2.0)
