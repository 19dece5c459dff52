"""NoT: which numbers change their sign, and on which nets that changes nothing."""

import pytest
import torch
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.history import History, Needs
from fedunlearn.models import Cnn, LeNet5, Mlp, Network, ResNet18
from fedunlearn.unlearning import Ledger, NoRecovery, Plain, Request, forget
from strategies.weight_negation import WeightNegation
from tests.support.unlearned import curve
from tests.support.world import Scaled, World, finish

REQUEST = Request(frozenset({1}), 6)


def negated(network, *layers):
    """Return a model and its negation."""
    weights = network.initial(4)
    history = History(network.layout, network.initial(0), weights)
    (found,) = WeightNegation(layers).unlearn(REQUEST, history, None)
    return weights, found


@pytest.mark.parametrize("layers", [["2.weight"], ["0.weight", "0.bias", "8.bias"]], ids=str)
def test_the_named_parameters_change_their_sign_and_nothing_else_does(layers):
    network = Network(Cnn(), (1, 8, 8), 10)
    weights, found = negated(network, *layers)
    before, after = network.layout.named(weights), network.layout.named(found)
    for name, tensor in before.items():
        assert tensor.abs().sum() > 0
        assert torch.equal(after[name], -tensor if name in layers else tensor)
    assert torch.equal(weights, network.initial(4))


class ClassToken(nn.Module):
    """A net that starts as a vision transformer does: the first parameter is no weight."""

    def __init__(self):
        super().__init__()
        self.class_token = nn.Parameter(torch.ones(64))
        self.embed = nn.Linear(64, 10)

    def forward(self, images):
        return self.embed(images.flatten(1) + self.class_token)


@pytest.mark.parametrize(
    ("build", "shape", "first"),
    [
        (Cnn(), (1, 8, 8), "0.weight"),
        (Mlp(), (1, 8, 8), "1.weight"),
        (LeNet5(), (1, 28, 28), "0.weight"),
        (ResNet18(), (3, 32, 32), "conv1.weight"),
        (lambda shape, classes: ClassToken(), (1, 8, 8), "embed.weight"),
    ],
    ids=["cnn", "mlp", "lenet5", "resnet18", "class token"],
)
def test_by_default_it_is_the_first_weight_without_its_bias(build, shape, first):
    network = Network(build, shape, 10)
    assert torch.equal(negated(network)[1], negated(network, first)[1])


def test_a_model_without_weights_by_name_loses_its_first_parameter():
    (found,), history = curve(WeightNegation(), [1])
    assert torch.equal(found, history.final * torch.tensor([-1, -1, 1, 1, 1, 1]))


class TestInvariance:
    """Where the layers after it are odd or even, negation is not seen: it forgets nothing."""

    images = torch.rand(8, 1, 8, 8)

    def logits(self, network, *layers):
        return [network(weights, self.images) for weights in negated(network, *layers)]

    def odd(self):
        layers = [nn.Linear(64, 9, bias=False), nn.Tanh(), nn.Linear(9, 10, bias=False)]
        return Network(lambda shape, classes: nn.Sequential(nn.Flatten(), *layers), (1, 8, 8), 10)

    def test_two_layers_of_an_odd_net_undo_each_other(self):
        before, after = self.logits(self.odd(), "1.weight", "3.weight")
        torch.testing.assert_close(after, before)
        assert before.abs().max() > 0.01

    def test_one_layer_of_an_odd_net_turns_all_logits_around(self):
        before, after = self.logits(self.odd())
        torch.testing.assert_close(after, -before)

    def test_a_relu_breaks_the_symmetry(self):
        before, after = self.logits(Network(Mlp((9,)), (1, 8, 8), 10), "1.weight", "3.weight")
        assert (after - before).abs().max() > 0.01

    def test_a_layer_before_an_even_function_may_be_negated_with_its_bias(self):
        class Even(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(64, 9), nn.Linear(9, 10)

            def forward(self, images):
                return self.last(self.first(images.flatten(1)).square())

        network = Network(lambda shape, classes: Even(), (1, 8, 8), 10)
        before, after = self.logits(network, "first.weight", "first.bias")
        torch.testing.assert_close(after, before)

    def test_a_norm_passes_the_sign_on(self):
        class Normed(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(64, 9, bias=False), nn.Linear(9, 10, bias=False)

            def forward(self, images):
                return self.last(nn.functional.layer_norm(self.first(images.flatten(1)), (9,)))

        network = Network(lambda shape, classes: Normed(), (1, 8, 8), 10)
        before, after = self.logits(network)
        torch.testing.assert_close(after, -before)


class TestDriver:
    def test_asks_nobody_and_stores_nothing(self):
        world, ledger = World(), Ledger()
        with world.open(ledger) as clients:
            course = world.trained(clients, WeightNegation().needs)
            assert course.history.nbytes == course.history.initial.nbytes
            charged = len(ledger.charges)
            steps = forget(course, frozenset({1}), WeightNegation(), NoRecovery(), clients, Needs())
            after = finish(steps)
            assert len(ledger.charges) == charged
        assert WeightNegation().length(REQUEST) == 1
        assert after.present == {0, 2, 3}

    def test_twice_is_not_at_all(self):
        world, strategy = World(), WeightNegation(("second",))
        with world.open() as clients:
            course = world.trained(clients, Needs())
            once = finish(forget(course, frozenset({1}), strategy, NoRecovery(), clients, Needs()))
            twice = finish(forget(once, frozenset({2}), strategy, NoRecovery(), clients, Needs()))
        assert not torch.equal(once.history.final, course.history.final)
        assert torch.equal(twice.history.final, course.history.final)
        assert twice.present == {0, 3}

    def test_recovery_is_the_rounds_of_those_who_remain(self):
        world = World()
        with world.open() as clients:
            course = world.trained(clients, Needs())
            steps = forget(course, frozenset({1}), WeightNegation(), Plain(3), clients, Needs())
            found = finish(steps).history.final
        flipped = course.history.final * torch.tensor([-1, -1, 1, 1, 1, 1])
        torch.testing.assert_close(found, world.formula([0, 2, 3], 3, weights=flipped))


class TestWrongNames:
    def test_a_name_is_refused_before_round_1_with_the_nearest(self):
        world, ledger = World(), Ledger()
        sentence = r"no parameter secnd; did you mean second\? The choices are: first, second\."
        with world.open(ledger) as clients, pytest.raises(Refused, match=sentence):
            world.trained(clients, WeightNegation(("first", "secnd")).needs)
        assert not list(ledger)

    def test_a_buffer_is_no_parameter(self):
        layout = Network(lambda shape, classes: Scaled(), (1, 8, 8), 10).layout
        assert "scale" in layout.named(torch.zeros(layout.size))
        with pytest.raises(Refused, match="no parameter scale"):
            Needs(tensors=("scale",)).check(layout)
        Needs(tensors=("layer.weight",)).check(layout)

    def test_names_of_several_strategies_are_checked_together(self):
        union = Needs.union([Needs(), Needs(tensors=("b", "a")), Needs(tensors=("a", "c"))])
        assert union.tensors == ("b", "a", "c")

    def test_a_config_s_list_is_taken(self):
        assert WeightNegation(["a", "b"]) == WeightNegation(("a", "b"))
        assert WeightNegation("first") == WeightNegation(("first",))

    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            ([1], r"WeightNegation\.layers\[0\] must be text, not 1"),
            (["a", "a"], r"WeightNegation\.layers must name parameters, each once"),
        ],
        ids=str,
    )
    def test_what_names_no_layers_is_refused(self, wrong, sentence):
        with pytest.raises(Refused, match=sentence):
            WeightNegation(wrong)
