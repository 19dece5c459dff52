"""What a model may be: every kind is trained, or refused in a sentence before training."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.local import LocalWork, train_locally
from fedunlearn.models import Cnn, Mlp, Network, try_model
from tests.support.model_kinds import CLASSES, REFUSED, SHAPE, SUPPORTED, Built, Frozen, Noisy

IMAGES = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))


PAGE = (Path(__file__).parents[2] / "docs" / "models-and-data.md").read_text()
SENTENCES = re.findall(r'"([^"]+)"', PAGE)


def network(kind):
    return Network(Built(kind), SHAPE, CLASSES)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_supported_kinds_pass_and_train_by_seed(kind):
    net = network(SUPPORTED[kind])
    try_model(net, IMAGES)
    labels, start = torch.tensor([0, 1, 2, 0]), net.initial(1)

    def trained(seed):
        rng = np.random.default_rng(seed)
        return train_locally(net, start, IMAGES, labels, LocalWork(epochs=2), 1, rng).weights

    first = trained(3)
    torch.rand(5)
    assert torch.equal(first, trained(3))
    assert first.isfinite().all()
    assert not torch.equal(first, start)
    assert torch.equal(net(first, IMAGES), net(first, IMAGES))


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_kinds_are_refused_in_a_sentence(kind):
    build, sentence = REFUSED[kind]
    with pytest.raises(Refused, match=sentence) as refused:
        try_model(network(build), IMAGES)
    said = str(refused.value)
    assert said.startswith("The model")
    assert "\n" not in said
    assert any(sentence in said for sentence in SENTENCES), "the page has no row for it"


def test_a_trial_leaves_everybody_s_random_numbers_alone():
    before = torch.get_rng_state(), random.getstate()
    try_model(network(Noisy), IMAGES)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


@pytest.mark.parametrize("build", [Mlp((8,)), Cnn((4, 4), 8)])
def test_our_own_nets_draw_nothing(build):
    net = Network(build, SHAPE, CLASSES)
    try_model(net, IMAGES[:1])
    assert not net.stochastic


def test_only_training_is_stochastic_and_a_teacher_is_evaluated():
    net = network(Noisy)
    assert net.stochastic
    weights = net.initial(0)
    passing = net.in_training(np.random.default_rng(0))
    assert torch.equal(passing(weights, IMAGES), net(weights, IMAGES))
    learning = weights.clone().requires_grad_()
    first, second = passing(learning, IMAGES), passing(learning, IMAGES)
    assert not torch.equal(first, second)
    again = net.in_training(np.random.default_rng(0))(learning, IMAGES)
    assert torch.equal(first, again)


def test_frozen_parameters_are_no_part_of_the_vector_but_of_a_saved_model():
    net = network(Frozen)
    assert net.layout.size == 8 * CLASSES + CLASSES
    saved = net.layout.saved(net.initial(5))
    module = Frozen()
    module.load_state_dict(saved)
    torch.testing.assert_close(module(IMAGES), net(net.initial(5), IMAGES))
