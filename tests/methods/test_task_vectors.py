"""Places around a model, and what runs from them agree on."""

import numpy as np
import pytest
import torch

from fedunlearn.methods import agreed, around
from fedunlearn.models import Mlp, Network, layers

NET = Network(Mlp((9,)), (1, 8, 8), 10)


def places(count=4, radius=0.5, seed=0, direction=None):
    weights = NET.initial(1)
    way = NET.initial(2) if direction is None else direction
    rng = np.random.default_rng(seed)
    return weights, way, around(NET.layout, weights, way, radius, count, rng)


class TestAround:
    @pytest.mark.parametrize("count", [2, 4, 10])
    def test_the_mean_of_all_places_is_the_model(self, count):
        weights, _, found = places(count)
        torch.testing.assert_close(found.double().mean(0).float(), weights, rtol=1e-5, atol=1e-6)

    def test_each_lies_at_the_radius(self):
        weights, _, found = places(radius=0.3)
        distances = (found - weights).norm(dim=1)
        torch.testing.assert_close(distances, torch.full((4,), 0.3), rtol=1e-4, atol=1e-5)

    def test_a_layer_moves_as_one_along_the_direction_with_as_many_of_both_signs(self):
        weights, way, found = places()
        for parts in layers(NET.layout).values():
            where = torch.cat([torch.arange(NET.layout.size)[part.slice] for part in parts])
            moved = (found - weights)[:, where]
            signs = (moved @ way[where]).sign()
            expected = 0.5 * way[where] / way.norm() * signs[:, None]
            torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)
            assert signs.sum() == 0

    def test_the_signs_are_drawn_by_lot(self):
        assert len({tuple(places(seed=seed)[2][:, 0].tolist()) for seed in range(20)}) == 6

    def test_without_a_direction_or_a_radius_all_are_the_model(self):
        weights, _, found = places(direction=torch.zeros(NET.layout.size))
        assert torch.equal(found, weights.expand(4, -1))
        weights, _, found = places(radius=0.0)
        assert torch.equal(found, weights.expand(4, -1))


class TestAgreed:
    def test_is_the_mean_of_those_with_the_sign_of_most(self):
        tasks = torch.tensor([[1.0, -1, 5], [3.0, -2, -1], [-9.0, -3, -2], [2.0, 1, -3]])
        assert agreed(tasks).tolist() == [2.0, -2.0, -2.0]

    def test_ties_and_places_where_most_stay_do_not_move(self):
        tasks = torch.tensor([[1.0, 0.0, 0], [3.0, 0.0, 0], [-9.0, 0.0, 0], [-2.0, 0.0, 4]])
        assert agreed(tasks).tolist() == [0.0, 0.0, 4.0]

    def test_of_equal_ones_it_is_each_and_turning_all_around_turns_it_around(self):
        tasks = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(agreed(tasks[:1].expand(4, -1)), tasks[0])
        torch.testing.assert_close(agreed(-tasks), -agreed(tasks))
