"""A shape is a tuple of sizes that knows the type and the levels of what it describes."""

import copy
import pickle

import pytest
import torch

from fedunlearn.models import Network, Shape

SHAPES = {
    "images": Shape((3, 8, 8)),
    "tokens": Shape((20,), torch.int64, (65,)),
    "a table": Shape((3,), levels=(4, 0, 2)),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
class TestShape:
    def test_is_its_sizes(self, shape):
        assert shape == tuple(shape)
        assert len({shape, tuple(shape)}) == 1

    def test_copies_know_type_and_levels(self, shape):
        for other in (copy.deepcopy(shape), pickle.loads(pickle.dumps(shape))):
            assert (other, other.dtype, other.levels) == (shape, shape.dtype, shape.levels)

    def test_draws_inputs_of_its_type_within_its_levels(self, shape):
        drawn = shape.drawn(200)
        assert drawn.shape == (200, *shape)
        assert drawn.dtype == shape.dtype
        for column, levels in enumerate(shape.levels if len(shape.levels) > 1 else ()):
            held = drawn[:, column]
            assert set(held.tolist()) == set(range(levels)) if levels else held.unique().numel() > 9


def test_tokens_reach_the_whole_vocabulary():
    assert set(SHAPES["tokens"].drawn(200).flatten().tolist()) == set(range(65))


def test_a_net_takes_sizes_for_a_shape_of_numbers():
    network = Network(lambda shape, classes: torch.nn.Linear(shape[0], classes), (4,), 2)
    assert network.shape.dtype == torch.float32
    assert network(network.initial(0), torch.ones(5, 4)).shape == (5, 2)
