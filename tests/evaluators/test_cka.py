"""Debiased CKA against its definition, its invariances and what it says of independent nets."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import Records
from fedunlearn.evaluators import LayerSimilarity, Snapshot
from fedunlearn.evaluators.cka import cka, cka_of_grams, gram
from fedunlearn.models import Mlp, Network
from tests.support.evaluated import CLASSES, randomly, records

SHAPES = [(30, 4, 7), (9, 40, 3), (12, 12, 11), (6, 100, 200)]


def drawn(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rotation(size, seed):
    return torch.linalg.qr(drawn(seed, size, size))[0]


def kernel_average(x, y):
    """The unbiased estimator by its definition: a mean over four different records."""
    k, m, n = x @ x.T, y @ y.T, len(x)
    pairs = [k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)]
    triples = [k[i, j] * m[i, q] for i, j, q in itertools.permutations(range(n), 3)]
    fours = [k[i, j] * m[q, r] for i, j, q, r in itertools.permutations(range(n), 4)]
    return float(np.mean(pairs) - 2 * np.mean(triples) + np.mean(fours))


@pytest.mark.parametrize(("n", "p", "q"), [(7, 3, 2), (6, 9, 2), (4, 5, 6)])
def test_it_is_the_definition(n, p, q):
    x, y = drawn(1, n, p), drawn(2, n, q)
    expected = kernel_average(x, y) / math.sqrt(kernel_average(x, x) * kernel_average(y, y))
    assert cka(x, y) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_both_forms_agree(n, p, q):
    x, y = drawn(1, n, p), drawn(2, n, q)
    assert cka(x, y) == pytest.approx(cka_of_grams(gram(x), gram(y)), abs=1e-12)


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
class TestInvariances:
    def test_it_is_one_for_the_same_up_to_rotation_scale_and_shift(self, n, p, q):
        x = drawn(3, n, p)
        turned = 7 * x @ rotation(p, 4) + drawn(5, p)
        assert cka(x, x) == pytest.approx(1, abs=1e-12)
        assert cka(x, turned) == pytest.approx(1, abs=1e-12)
        assert cka(x, -x) == pytest.approx(1, abs=1e-12)

    def test_it_does_not_depend_on_the_order_of_records_or_of_models(self, n, p, q):
        x, y = drawn(6, n, p), drawn(7, n, q)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(8))
        assert cka(x[order], y[order]) == pytest.approx(cka(x, y), abs=1e-12)
        assert cka(y, x) == pytest.approx(cka(x, y), abs=1e-12)
        assert cka(x[order], y) != pytest.approx(cka(x, y), abs=1e-3)

    def test_a_shift_far_away_costs_no_digits(self, n, p, q):
        x, y = drawn(6, n, p), drawn(7, n, q)
        assert cka(x + 1e6, y) == pytest.approx(cka(x, y), abs=1e-8)


def test_it_is_zero_in_the_mean_for_independent_ones_of_few_records():
    n, p = 10, 200
    values = np.array([cka(drawn(2 * s, n, p), drawn(2 * s + 1, n, p)) for s in range(300)])
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean()) < 4 * error < 0.1
    # the plain estimator is near 1 there, whatever the models
    plain = [_plain(drawn(2 * s, n, p), drawn(2 * s + 1, n, p)) for s in range(10)]
    assert min(plain) > 0.8


def _plain(x, y):
    k, m = gram(x), gram(y)
    return float((k * m).sum() / (k.norm() * m.norm()))


def test_it_lies_between_for_what_is_half_alike():
    x, noise = drawn(1, 400, 5), drawn(2, 400, 5)
    values = [cka(x, x + share * noise) for share in (0, 0.5, 1, 2, 8)]
    assert values == sorted(values, reverse=True)
    assert 0.2 < cka(x, x + noise) < 0.8


def test_maps_of_images_are_taken_whole():
    maps = drawn(1, 8, 2, 3, 3)
    assert torch.equal(gram(maps), gram(maps.flatten(1)))
    nearer = maps.to(memory_format=torch.channels_last)
    assert cka(nearer, maps) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("width", [3, 30])
@pytest.mark.parametrize("n", [7, 10, 23])
def test_what_is_the_same_for_all_records_is_like_nothing(n, width):
    for value in (0.0, 0.1, math.pi, -1e7 / 3):
        dead = torch.full((n, width), value, dtype=torch.float64)
        assert math.isnan(cka(dead, drawn(1, n, width)))
        assert math.isnan(cka(drawn(1, n, width), dead))
        assert math.isnan(cka(dead, dead))
    assert math.isnan(cka(drawn(1, n, width) * math.nan, drawn(1, n, width)))


def test_representations_that_tell_nothing_about_pairs_are_like_nothing():
    # all records are as far from one another: a difference between two is no information
    for n in (5, 6, 17):
        for scale in (1.0, 0.1, 1e5 / 3):
            assert math.isnan(cka(scale * rotation(n, 1), drawn(1, n, 4)))


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 6), (0, 0)])
@pytest.mark.parametrize("width", [2, 20])
def test_too_few_records_or_other_ones_are_refused(n, m, width):
    with pytest.raises(ValueError, match="of at least 4"):
        cka(torch.rand(n, width), torch.rand(m, width))


class TestLayerSimilarity:
    network = Network(Mlp((8,)), (1, 1, CLASSES), CLASSES)

    def snapshot(self, weights, sets=None):
        sets = sets or {"forget": randomly(20, seed=0), "test": randomly(30, seed=1)}
        return Snapshot(self.network, weights, sets, self.network.initial(0))

    def test_without_a_retrained_model_there_is_none(self):
        assert LayerSimilarity()(self.snapshot(self.network.initial(1)), None) == {}

    def test_the_retrained_model_is_like_itself(self):
        one = self.snapshot(self.network.initial(1))
        values = LayerSimilarity()(one, self.snapshot(self.network.initial(1)))
        assert list(values) == [
            *("forget_cka", "forget_cka/1", "forget_cka/3"),
            *("test_cka", "test_cka/1", "test_cka/3"),
        ]
        assert list(values.values()) == pytest.approx([1] * 6, abs=1e-12)

    def test_each_layer_is_compared_on_each_set_and_the_least_is_told(self):
        ours, theirs = (self.snapshot(self.network.initial(seed)) for seed in (1, 2))
        values = LayerSimilarity()(ours, theirs)
        for name in ("forget", "test"):
            images = ours.sets[name].inputs
            both = [self.network.activations(m.weights, images) for m in (ours, theirs)]
            layers = [cka(both[0][layer], both[1][layer]) for layer in ("1", "3")]
            assert [values[f"{name}_cka/{layer}"] for layer in ("1", "3")] == pytest.approx(layers)
            assert values[f"{name}_cka"] == pytest.approx(min(layers))
        assert values["forget_cka"] != values["test_cka"]

    def test_the_layer_that_changed_is_the_one_that_shows(self):
        weights = self.network.initial(1)
        parts = {name: part.clone() for name, part in self.network.layout.named(weights).items()}
        parts["3.weight"] = torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(5))
        changed = self.network.layout.flatten(parts)
        values = LayerSimilarity()(self.snapshot(changed), self.snapshot(weights))
        assert values["test_cka/1"] == pytest.approx(1, abs=1e-12)
        assert values["test_cka"] == values["test_cka/3"] < 0.95

    def test_where_one_layer_is_dead_the_least_is_no_number(self):
        weights = self.network.initial(1).clone()
        self.network.layout.named(weights)["3.weight"].zero_()
        values = LayerSimilarity()(self.snapshot(weights), self.snapshot(self.network.initial(1)))
        assert values["test_cka/1"] == pytest.approx(1, abs=1e-12)
        assert math.isnan(values["test_cka/3"])
        assert math.isnan(values["test_cka"])

    def test_few_records_are_left_out(self):
        sets = {"forget": randomly(3, seed=0), "test": records([], [])}
        model = self.snapshot(self.network.initial(1), sets)
        assert LayerSimilarity()(model, model) == {}

    def test_no_more_records_are_looked_at_than_asked_for(self):
        held = {"test": randomly(50, seed=1)}
        ours, theirs = (self.snapshot(self.network.initial(seed), held) for seed in (1, 2))
        drawn_ones = {"test": ours.sampled("test", 10)}
        fewer = [self.snapshot(self.network.initial(seed), drawn_ones) for seed in (1, 2)]
        assert LayerSimilarity(10)(ours, theirs) == LayerSimilarity()(*fewer)
        assert LayerSimilarity(10)(ours, theirs) != LayerSimilarity()(ours, theirs)

    def test_the_order_of_the_records_does_not_matter(self):
        order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
        held = randomly(30, seed=1)
        mixed = Records(held.inputs[order], held.labels[order])
        values = [
            LayerSimilarity()(
                *(self.snapshot(self.network.initial(seed), {"test": shown}) for seed in (1, 2))
            )
            for shown in (held, mixed)
        ]
        assert values[0] == pytest.approx(values[1], abs=1e-9)

    def test_a_diverged_model_is_like_nothing(self):
        weights = torch.full_like(self.network.initial(0), math.nan)
        values = LayerSimilarity()(self.snapshot(weights), self.snapshot(self.network.initial(1)))
        assert len(values) == 6
        assert all(math.isnan(value) for value in values.values())

    def test_the_retrained_model_goes_through_its_net_once(self, monkeypatch):
        passes, real = [], Network.activations

        def counting(network, weights, *rest):
            passes.append(weights)
            return real(network, weights, *rest)

        monkeypatch.setattr(Network, "activations", counting)
        retrained = self.snapshot(self.network.initial(1))
        for seed in (2, 3):
            LayerSimilarity()(self.snapshot(self.network.initial(seed)), retrained)
        assert len(passes) == 2 * 3  # two sets of three models

    def test_no_gradient_is_kept(self):
        weights = self.network.initial(1).requires_grad_()
        model = self.snapshot(weights)
        LayerSimilarity()(model, replace(model, _kept={}))
        (layers, _) = model._kept.values()
        assert not any(layer.requires_grad for layer in layers.values())

    def test_fewer_records_than_the_estimator_needs_are_refused(self):
        with pytest.raises(Refused, match=r"LayerSimilarity\.records"):
            LayerSimilarity(records=3)
