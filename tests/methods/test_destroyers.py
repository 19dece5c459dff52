"""What destroyers change, how many of it, and what they leave as it was, bit for bit."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import History, Needs
from fedunlearn.local import Gradient, LocalWork, Mask, Sgd
from fedunlearn.methods import (
    AddNoise,
    AscendOnLeavers,
    PruneAndRedraw,
    Redraw,
    RedrawByGradient,
    RedrawEnds,
    RedrawRandom,
    Repair,
    Situation,
    TransposeKernels,
    mean_gradient,
    smallest,
)
from fedunlearn.models import Cnn, GroupNormCnn, Mlp, Network, redrawn
from fedunlearn.unlearning import Request
from strategies.destroy_repair import DestroyRepair
from tests.support.unlearned import curve
from tests.support.world import HalfSquare, World, without_leavers

REQUEST = Request(frozenset({1}), 6)
NETS = {"cnn": Cnn(), "mlp": Mlp((9,)), "groupnorm": GroupNormCnn()}


def network(name="cnn"):
    return Network(NETS[name], (1, 8, 8), 10)


def destroyed(destroyer, net, seed=0, clients=None):
    """Return a model, and what the destroyer makes of it."""
    weights = net.initial(4)
    history = History(net.layout, net.initial(0), weights)
    now = Situation(REQUEST, history, clients, 7, np.random.default_rng(seed))
    return weights, destroyer.destroy(weights, now)


def changed_parts(net, before, after):
    old, new = net.layout.named(before), net.layout.named(after)
    return {name for name in old if not torch.equal(old[name], new[name])}


class TestRedrawn:
    def test_each_kind_of_tensor_has_its_own_bounds(self):
        net = network("groupnorm")
        everywhere = torch.ones(net.layout.size, dtype=torch.bool)
        weights = torch.full((net.layout.size,), 9.0)
        fresh = net.layout.named(redrawn(net.layout, weights, everywhere, np.random.default_rng(0)))
        norms = convs = 0
        for part in net.layout.parts:
            owner, _, kind = part.name.rpartition(".")
            weight = fresh[f"{owner}.weight"]
            if weight.dim() == 1:
                assert torch.equal(
                    fresh[part.name], torch.full(part.shape, float(kind == "weight"))
                )
                norms += 1
            else:
                bound = weight[0].numel() ** -0.5
                assert 0.5 * bound < fresh[part.name].abs().max() <= bound
                convs += weight.dim() == 4
        assert norms
        assert convs

    def test_a_place_draws_the_same_whatever_else_is_drawn(self):
        net = network()
        some = torch.arange(net.layout.size) % 3 == 0
        weights = net.initial(1)
        alone = redrawn(net.layout, weights, some, np.random.default_rng(5))
        every = redrawn(net.layout, weights, torch.ones_like(some), np.random.default_rng(5))
        assert torch.equal(alone[some], every[some])
        assert torch.equal(alone[~some], weights[~some])


class TestCounts:
    @pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
    def test_smallest_is_the_rounded_share(self, share):
        scores, among = torch.rand(50), torch.arange(50) % 2 == 0
        chosen = smallest(scores, among, share)
        assert int(chosen.sum()) == round(share * 25)
        assert not (chosen & ~among).any()
        if 0 < share < 1:
            assert scores[chosen].max() <= scores[among & ~chosen].min()

    def test_ends_are_the_first_and_the_last_layer_and_nothing_else(self):
        net = network()
        weights, found = destroyed(RedrawEnds(), net)
        names = [part.name for part in net.layout.parts]
        assert changed_parts(net, weights, found.weights) == {*names[:2], *names[-2:]}
        weights, found = destroyed(RedrawEnds(first=False), net)
        assert changed_parts(net, weights, found.weights) == set(names[-2:])

    def test_named_parameters_alone(self):
        net = network()
        weights, found = destroyed(Redraw(("2.weight",)), net)
        assert changed_parts(net, weights, found.weights) == {"2.weight"}
        with pytest.raises(Refused, match=r"no parameter 2\.weigth; did you mean 2\.weight"):
            Redraw(("2.weigth",)).needs.check(net.layout)

    def test_random_layers_never_include_the_last_unless_asked(self):
        net, last = network(), {part.name for part in network().layout.parts[-2:]}
        hit = set()
        for seed in range(30):
            weights, found = destroyed(RedrawRandom(share=0.5), net, seed)
            changed = changed_parts(net, weights, found.weights)
            assert changed
            hit |= changed
        assert hit.isdisjoint(last)
        assert hit == {part.name for part in net.layout.parts} - last

    def test_pruning_keeps_the_globally_largest_and_no_more(self):
        net = network()
        weights, found = destroyed(PruneAndRedraw(0.99), net)
        d = net.layout.size
        kept = found.weights == weights
        assert int(kept.sum()) == d - round(0.99 * d)
        assert weights[kept].abs().min() >= weights[~kept].abs().max()
        for part in net.layout.parts:
            if part.name.endswith("bias"):
                own = found.weights[part.slice][~kept[part.slice]]
                assert not own.any()

    def test_normalisations_are_not_pruned(self):
        net = network("groupnorm")
        weights, found = destroyed(PruneAndRedraw(0.99), net)
        for part in net.layout.parts:
            if len(part.shape) == 1 and part.name.endswith("weight"):
                assert torch.equal(found.weights[part.slice], weights[part.slice])


class TestNoise:
    @pytest.mark.parametrize("relative", [True, False])
    def test_has_its_size_and_leaves_biases_and_norms(self, relative):
        net = network()
        weights, found = destroyed(AddNoise(0.6, relative=relative), net)
        for part in net.layout.parts:
            added = (found.weights - weights)[part.slice]
            if part.name.endswith("bias"):
                assert not added.any()
            elif part.size > 1000:
                rms = weights[part.slice].square().mean().sqrt() if relative else 1.0
                assert abs(float(added.std() / rms) - 0.6) < 0.03

    def test_one_seed_is_one_noise(self):
        first, again, other = (
            destroyed(AddNoise(), network(), seed)[1].weights for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_convolutions_alone(self):
        net = network()
        weights, found = destroyed(AddNoise(which="convolutions"), net)
        assert changed_parts(net, weights, found.weights) == {p.name for p in net.layout.kernels}


class TestTransposition:
    def test_twice_is_not_at_all_and_the_numbers_stay(self):
        net = network()
        weights, once = destroyed(TransposeKernels(), net)
        now = Situation(REQUEST, History(net.layout, weights, weights), None, 7, None)
        assert not torch.equal(once.weights, weights)
        assert torch.equal(once.weights.sort().values, weights.sort().values)
        assert torch.equal(TransposeKernels().destroy(once.weights, now).weights, weights)

    def test_a_net_without_square_kernels_is_refused(self):
        with pytest.raises(Refused, match="no convolution with a square kernel"):
            TransposeKernels().needs.check(network("mlp").layout)
        TransposeKernels().needs.check(network().layout)


@dataclass(frozen=True)
class Answering:
    """Clients whose gradients are known."""

    gradient: torch.Tensor
    own: torch.Tensor

    def query(self, weights, query, who=None, *, round):
        assert query == Gradient()
        return {0: {"gradient": 10 * self.gradient, "count": torch.tensor(10.0)}}

    @property
    def leavers(self):
        return Answering(self.own, self.own)


class TestByGradient:
    def test_in_each_weight_exactly_the_share_that_is_pulled_least_is_redrawn(self):
        net = network()
        torch.manual_seed(1)
        rest, own = torch.randn(2, net.layout.size)
        found = destroyed(RedrawByGradient(0.3), net, clients=Answering(rest, own))
        weights, (after, mask) = found
        pull = (rest - own).abs()
        for part in net.layout.parts:
            here = part.slice
            changed = after[here] != weights[here]
            if part.name.endswith("bias"):
                assert not changed.any()
                assert (mask.factors[here] == 1).all()
                continue
            assert int(changed.sum()) == round(0.3 * part.size)
            assert pull[here][changed].max() <= pull[here][~changed].min()
            assert (mask.factors[here][changed] == 1).all()
            assert torch.allclose(mask.factors[here][~changed], torch.tensor(0.1))

    def test_gradients_of_clients_are_weighted_by_records(self):
        answers = {
            0: {"gradient": torch.tensor([3.0]), "count": torch.tensor(1.0)},
            1: {"gradient": torch.tensor([1.0]), "count": torch.tensor(3.0)},
        }
        assert mean_gradient(answers, torch.zeros(1)).tolist() == [1.0]
        assert mean_gradient({}, torch.zeros(1)).tolist() == [0.0]

    @pytest.mark.parametrize("leaver", ["asked", "stored", "unknown"])
    def test_what_is_known_of_the_leaver_is_declared_and_enough(self, leaver):
        destroyer = RedrawByGradient(leaver=leaver)
        assert destroyer.needs.leaver == (leaver == "asked")
        assert destroyer.needs.updates == (leaver == "stored")
        repair = Repair(1, LocalWork(1, optimizer=Sgd(lr=0.1), objective=HalfSquare()))
        models, _ = curve(DestroyRepair((destroyer,), (repair,)), [1])
        assert len(models) == 2


class TestRepair:
    def test_slowed_weights_take_a_tenth_of_the_step(self):
        """One step of plain descent, from the same model with and without the mask."""
        world = World()
        with world.open() as everybody:
            clients = without_leavers(everybody, [1], Needs(remaining=True, masks=True))
            start = world.start.history
            now = Situation(REQUEST, start, clients, 7, np.random.default_rng(0))
            work = LocalWork(1, 1000, optimizer=Sgd(lr=0.1, momentum=0), objective=HalfSquare())
            factors = torch.tensor([0.1, 1.0, 0.1, 1.0, 1.0, 0.1])
            repair = Repair(1, work)
            (free,) = repair.run(start.initial, None, now)
            (slow,) = repair.run(start.initial, Mask(factors), now)
        torch.testing.assert_close(slow - start.initial, factors * (free - start.initial))

    def test_rates_scale_each_round(self):
        world = World()
        work = LocalWork(1, 1000, optimizer=Sgd(lr=0.1, momentum=0), objective=HalfSquare())
        repair = Repair(2, work, rates=(1.0, 0.5))
        models, _ = curve(DestroyRepair((RedrawEnds(),), (repair,)), [1], world)
        centre = world.formula([0, 2, 3], 1000)
        for before, after, rate in zip(models, models[1:], (0.1, 0.05), strict=False):
            torch.testing.assert_close(after, centre + (1 - rate) * (before - centre))
        with pytest.raises(Refused, match="a number for each of the 2 rounds"):
            Repair(2, rates=(1.0,))


@pytest.mark.parametrize("kind", NETS)
def test_every_destroyer_goes_with_every_net_and_a_model_comes_back(kind):
    net = network(kind)
    free = [RedrawEnds(), RedrawRandom(), PruneAndRedraw(0.5), AddNoise()]
    if net.layout.kernels:
        free += [TransposeKernels(), AddNoise(which="convolutions")]
    for one, other in itertools.product(free, free):
        weights, found = destroyed(one, net)
        now = Situation(
            REQUEST, History(net.layout, weights, weights), None, 7, np.random.default_rng(1)
        )
        both = other.destroy(found.weights, now)
        assert both.weights.isfinite().all()
        assert not torch.equal(both.weights, weights) or one == other == TransposeKernels()


def test_leavers_ascend_where_they_are_asked():
    world = World()
    work = LocalWork(1, 1000, optimizer=Sgd(lr=0.1, momentum=0), objective=HalfSquare())
    (first, *_), history = curve(DestroyRepair((AscendOnLeavers(work),), (Repair(1),)), [1], world)
    target = world.here.train[1].inputs[0].flatten()
    torch.testing.assert_close(first, target + 0.9 * (history.final - target))
