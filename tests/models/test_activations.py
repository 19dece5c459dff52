"""What every layer says, in one pass."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedunlearn.models import Cnn, Mlp, Network, ResNet18
from tests.support.world import Offset

GENERATOR = torch.Generator().manual_seed(0)


class Overwriting(nn.Module):
    """A layer whose output the next one overwrites, and one that is called twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = nn.Linear(4, 4)

    def forward(self, images):
        hidden = functional.relu(self.first(images.flatten(1)), inplace=True)
        return self.again(self.again(hidden))


class Paired(nn.Module):
    """A layer that says two things at once."""

    def __init__(self):
        super().__init__()
        self.pair = nn.LSTM(4, 3, batch_first=True)
        self.last = nn.Linear(3, 2)

    def forward(self, images):
        return self.last(self.pair(images.flatten(2))[0][:, -1])


def images(*shape):
    return torch.rand(5, *shape, generator=GENERATOR)


def built(module):
    return Network(lambda shape, classes: module(), (1, 1, 4), 2)


def test_a_net_says_what_its_layers_compute():
    network, shown = Network(Mlp((6,)), (1, 2, 2), 3), images(1, 2, 2)
    weights = network.initial(2)
    named = network.layout.named(weights)
    first = shown.flatten(1) @ named["1.weight"].T + named["1.bias"]
    last = first.relu() @ named["3.weight"].T + named["3.bias"]
    found = network.activations(weights, shown)
    assert list(found) == ["1", "3"]
    torch.testing.assert_close(found["1"], first)
    torch.testing.assert_close(found["3"], last)
    assert torch.equal(found["3"], network(weights, shown))


@pytest.mark.parametrize(
    ("build", "shape", "layers"),
    [(Cnn(), (1, 8, 8), 4), (ResNet18(), (3, 8, 8), 41)],
    ids=["cnn", "resnet18"],
)
def test_every_layer_with_parameters_speaks_once_and_the_last_one_says_the_logits(
    build, shape, layers
):
    network, shown = Network(build, shape, 10), images(*shape)
    found = network.activations(network.initial(1), shown)
    owners = {part.name.rpartition(".")[0] for part in network.layout.parts}
    assert found.keys() == owners
    assert len(found) == layers
    assert torch.equal([*found.values()][-1], network(network.initial(1), shown))


def test_what_a_later_layer_overwrites_is_kept_as_it_was_said():
    network, shown = built(Overwriting), images(1, 1, 4)
    weights = network.initial(0)
    named = network.layout.named(weights)
    first = shown.flatten(1) @ named["first.weight"].T + named["first.bias"]
    assert (first < 0).any()
    found = network.activations(weights, shown)
    torch.testing.assert_close(found["first"], first)
    assert torch.equal(found["again"], network(weights, shown))  # of the last call


def test_only_what_is_to_be_kept_is_held():
    network, shown = Network(Cnn(), (1, 8, 8), 10), images(1, 8, 8)
    weights = network.initial(1)
    means = network.activations(weights, shown, Tensor.mean)
    for name, whole in network.activations(weights, shown).items():
        assert means[name].shape == ()
        torch.testing.assert_close(means[name], whole.mean())


def test_a_layer_that_says_no_single_tensor_is_left_out():
    network = built(Paired)
    assert list(network.activations(network.initial(0), images(1, 1, 4))) == ["last"]


def test_tensors_of_the_net_itself_are_called_the_model_s():
    network = Network(Offset(), (1, 1, 6), 6)
    weights, shown = network.initial(0), images(1, 1, 6)
    found = network.activations(weights, shown)
    assert list(found) == ["model"]
    assert torch.equal(found["model"], network(weights, shown))


def test_nothing_is_noted_after_the_pass():
    network, shown, kept = Network(Mlp((6,)), (1, 2, 2), 3), images(1, 2, 2), []
    weights = network.initial(0)
    network.activations(weights, shown, lambda out: kept.append(out) or out)
    assert len(kept) == 2
    network(weights, shown)
    with pytest.raises(RuntimeError):
        network.activations(weights, images(1, 3, 3), lambda out: kept.append(out) or out)
    network(weights, shown)
    assert len(kept) == 2
