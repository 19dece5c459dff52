"""Chains of linear layers for many clients at once, next to one client after the other."""

import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from fedunlearn.local import Ascent, CrossEntropy, Distillation, Proximal, UnlearningCrossEntropy
from fedunlearn.local.objectives import of_many
from fedunlearn.models import Cnn, Layout, LeNet5, Mlp, Network
from fedunlearn.models.dense_cohort import Dense

K, N = 5, 7
SHAPE = (2, 3, 4)


def cohort(network, classes=10, seed=0):
    """Other weights, images and labels for each of K clients, in float64."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(K, network.layout.size, generator=generator, dtype=torch.float64) / 3
    images = torch.randn(K, N, *network.shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (K, N), generator=generator)
    return weights, images, labels


@pytest.mark.parametrize("hidden", [(), (5,), (6, 3, 4)])
def test_logits_and_gradients_are_those_of_each_client_by_itself(hidden):
    network = Network(Mlp(hidden) if hidden else flat, SHAPE, 10)
    weights, images, labels = cohort(network)
    assert isinstance(network._together, Dense)
    alone = [network(w, x) for w, x in zip(weights, images, strict=True)]
    torch.testing.assert_close(network.together(weights, images), torch.stack(alone))

    shares = torch.rand(K, N, dtype=torch.float64)
    leaf = weights.clone().requires_grad_()
    losses = CrossEntropy()(network.together, leaf, images, labels, weights[:1])
    (found,) = torch.autograd.grad(losses, leaf, shares)

    def loss(w, x, y, s):
        return s @ nn.functional.cross_entropy(network(w, x), y, reduction="none")

    torch.testing.assert_close(found, vmap(grad(loss))(weights, images, labels, shares))


def flat(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def test_the_gradient_is_that_of_finite_differences():
    network = Network(Mlp((4,)), (1, 2, 2), 3)
    weights, images, _ = cohort(network, classes=3)
    weights.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: network.together(w, images), weights)


def test_nobody_takes_it_twice():
    network = Network(Mlp((4,)), (1, 2, 2), 3)
    weights, images, _ = cohort(network, classes=3)
    leaf = weights.requires_grad_()
    energy = network.together(leaf, images).square().sum()
    (once,) = torch.autograd.grad(energy, leaf, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(once.sum(), leaf)


@pytest.mark.parametrize(
    "net",
    [
        lambda: nn.Sequential(nn.Linear(4, 3)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
        lambda: nn.Flatten(),
        lambda: nn.Sequential(),
        lambda: nn.Sequential(nn.Flatten(2), nn.Linear(4, 3)),
        lambda: Cnn()((1, 8, 8), 10),
        lambda: LeNet5()((1, 28, 28), 10),
    ],
)
def test_any_other_net_is_left_to_vmap(net):
    module = net()
    assert Dense.of(module, Layout.of(module)) is None


def test_a_chain_with_a_buffer_of_its_own_is_left_to_vmap():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    assert Dense.of(module, Layout.of(module)) is not None
    module.register_buffer("shift", torch.zeros(3))
    assert Dense.of(module, Layout.of(module)) is None


def test_a_subclass_may_do_anything_and_is_left_to_vmap():
    class Halved(nn.Linear):
        def forward(self, x):
            return super().forward(x) / 2

    module = nn.Sequential(nn.Flatten(), Halved(4, 3))
    assert Dense.of(module, Layout.of(module)) is None


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize(
    "objective",
    [CrossEntropy(), Proximal(0.7), Ascent(), UnlearningCrossEntropy(), Distillation()],
    ids=lambda objective: type(objective).__name__,
)
@pytest.mark.parametrize("build", [Mlp((6,)), Cnn((2, 3), 4)], ids=["dense", "convolutional"])
def test_objectives_that_know_many_clients_say_what_they_say_of_each(build, objective, one_each):
    network = Network(build, (1, 4, 4), 10)
    weights, images, labels = cohort(network)
    if isinstance(objective, Distillation):
        labels = torch.randn(K, N, 10, dtype=torch.float64)
    sent = torch.randn(K, 2, network.layout.size, dtype=torch.float64)
    sent = sent if one_each else sent[0]
    found = of_many(objective, network, one_each)(weights, images, labels, sent)
    alone = [
        objective(network, weights[i], images[i], labels[i], sent[i] if one_each else sent)
        for i in range(K)
    ]
    torch.testing.assert_close(found, torch.stack(alone))
