import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.local import (
    CrossEntropy,
    LocalWork,
    Proximal,
    PseudoLabels,
    Sgd,
    VirtualTeacher,
    train_locally,
)
from fedunlearn.models import Cnn, Mlp, Network
from tests.support.world import Scaled

SHAPE = (1, 8, 8)
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(12, *SHAPE, generator=GENERATOR)
LABELS = torch.randint(0, 10, (12,), generator=GENERATOR)


class HalfUsed(nn.Module):
    """A net with a layer that no image ever passes."""

    def __init__(self):
        super().__init__()
        self.idle, self.used = nn.Linear(3, 2), nn.Linear(64, 10)

    def forward(self, images):
        return self.used(images.flatten(1))


def network(build=Mlp((16,))):
    return Network(build, SHAPE, 10)


@pytest.mark.parametrize("build", [Mlp((16,)), Cnn(), lambda *_: Scaled(), lambda *_: HalfUsed()])
@pytest.mark.parametrize(
    "objective", [CrossEntropy(), Proximal(0.5), PseudoLabels(), VirtualTeacher()]
)
def test_the_gradient_is_that_by_the_whole_vector_bit_for_bit(build, objective):
    net = network(build)
    sent = torch.stack([net.initial(2), net.initial(3)])
    weights = net.initial(1).requires_grad_()
    by_vector = objective(net, weights, IMAGES, LABELS, sent).mean()
    (expected,) = torch.autograd.grad(by_vector, weights)
    leaves = net.leaves(net.initial(1))
    for _ in range(2):  # nothing stays of the first gradient
        found = leaves.gradient(objective(net, leaves.whole, IMAGES, LABELS, sent).mean())
        assert torch.equal(found[net.layout.parameters], expected[net.layout.parameters])


def test_a_change_of_the_memory_is_a_change_of_the_net():
    net = network()
    leaves = net.leaves(net.initial(1))
    leaves.memory.copy_(net.initial(2))
    assert torch.equal(net(leaves.whole, IMAGES), net(net.initial(2), IMAGES))


def test_other_weights_than_the_leaves_are_taken_as_they_come():
    net = network()
    leaves = net.leaves(net.initial(1))
    equal_but_another = leaves.memory.clone()
    leaves.memory.zero_()
    assert torch.equal(net(equal_but_another, IMAGES), net(net.initial(1), IMAGES))


def test_a_client_s_weights_are_its_own():
    """The memory is used again for the next client; what the first one sent stays."""
    net, work = network(), LocalWork(epochs=1, batch_size=4, optimizer=Sgd(0.1))
    start = net.initial(1)
    first = train_locally(net, start, IMAGES, LABELS, work, 1, np.random.default_rng(0)).weights
    kept = first.clone()
    train_locally(net, net.initial(2), IMAGES, LABELS, work, 1, np.random.default_rng(1))
    assert torch.equal(first, kept)
    assert torch.equal(start, net.initial(1))


def test_another_precision_gets_a_memory_of_its_own():
    net = network()
    assert net.leaves(net.initial(1)) is net.leaves(net.initial(2))
    double = net.leaves(net.initial(1).double())
    assert double.memory.dtype == torch.float64
    assert net(double.whole, IMAGES.double()).dtype == torch.float64
