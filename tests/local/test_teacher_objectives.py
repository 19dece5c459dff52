"""Objectives with a teacher: values by hand, no labels where none are due, equal in all engines."""

import math

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.flower import Local, kinds_in
from fedunlearn.flower.messages import client_kinds, decode, encode
from fedunlearn.local import (
    Blend,
    CrossEntropy,
    EntropyMatch,
    Imitation,
    Indifference,
    InputNoise,
    LocalWork,
    LogitMatch,
    Sgd,
    teaches,
)
from fedunlearn.unlearning import Training
from tests.support.grid_clients import scenario_clients
from tests.support.small_federation import SMALL

STUDENT, TEACHER = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 2.0, 0.0]])
LABEL = torch.tensor([0])


def net(weights, images):
    """Logits that are the weights, and no function of the images."""
    return weights.view(1, 3).expand(len(images), 3)


def loss(objective, student=STUDENT, labels=LABEL):
    sent = torch.stack([student[0], TEACHER[0]])
    return float(objective(net, student[0], torch.zeros(1, 1), labels, sent))


def softmax(logits, temperature=1.0):
    powers = [math.exp(z / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def entropy(logits):
    return -sum(p * math.log(p) for p in softmax(logits))


class TestByHand:
    @pytest.mark.parametrize("temperature", [1.0, 5.0])
    def test_imitation_is_the_divergence_with_and_without_its_factor(self, temperature):
        t, s = softmax([0, 2, 0], temperature), softmax([1, 0, -1], temperature)
        expected = sum(a * math.log(a / b) for a, b in zip(t, s, strict=True))
        assert loss(Imitation(temperature, scaled=False)) == pytest.approx(expected, rel=1e-5)
        scaled = loss(Imitation(temperature))
        assert scaled == pytest.approx(temperature**2 * expected, rel=1e-5)

    def test_logits_are_matched_in_the_mean(self):
        assert loss(LogitMatch()) == pytest.approx((1 + 4 + 1) / 3)

    def test_entropies_are_matched_not_logits(self):
        expected = (entropy([1, 0, -1]) - entropy([0, 2, 0])) ** 2
        assert loss(EntropyMatch()) == pytest.approx(expected, rel=1e-5)
        moved = torch.tensor([[2.0, 0.0, 0.0]])  # as sure as the teacher, of another class
        assert loss(EntropyMatch(), moved) == pytest.approx(0, abs=1e-10)

    def test_indifference_is_nothing_for_the_uniform_answer(self):
        assert loss(Indifference(), torch.zeros(1, 3)) == pytest.approx(0, abs=1e-6)
        expected = -math.log(3) - sum(map(math.log, softmax([1, 0, -1]))) / 3
        assert loss(Indifference()) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("objective", [Imitation(), LogitMatch(), EntropyMatch()], ids=repr)
    def test_a_student_that_is_its_teacher_has_none_and_labels_do_not_matter(self, objective):
        assert teaches(objective)
        assert loss(objective, TEACHER) == pytest.approx(0, abs=1e-7)
        assert loss(objective, labels=torch.tensor([2])) == loss(objective)

    def test_a_blend_is_the_weighted_sum_and_of_one_part_that_part(self):
        blend = Blend((CrossEntropy(), LogitMatch()), (0.5, 2.0))
        assert teaches(blend)
        assert not teaches(Blend())
        expected = 0.5 * loss(CrossEntropy()) + 2 * loss(LogitMatch())
        assert loss(blend) == pytest.approx(expected)
        assert loss(Blend((LogitMatch(),), (1.0,))) == loss(LogitMatch())

    def test_a_blend_needs_a_weight_for_each_part(self):
        with pytest.raises(Refused, match=r"Blend\.weights must hold one number for each of the 2"):
            Blend((CrossEntropy(), LogitMatch()), (1.0,))


def test_a_blend_travels_as_text():
    work = LocalWork(objective=Blend((CrossEntropy(0.1), Imitation(5.0)), (1.0, 2.0)))
    assert decode(encode(work), client_kinds(kinds_in(work))) == work


@pytest.mark.parametrize(
    "objective",
    [
        Imitation(2.0),
        LogitMatch(),
        EntropyMatch(),
        Indifference(),
        Blend((CrossEntropy(), LogitMatch()), (1.0, 0.5)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_engines_agree(objective):
    found = {}
    work = LocalWork(
        epochs=1, optimizer=Sgd(lr=0.02), objective=objective, augmentation=InputNoise(0.1)
    )
    for mode in ("workers", "cohort"):

        def job(connection, mode=mode):
            clients = scenario_clients(connection, Training(), SMALL)
            network = clients.channel.proxy.network
            teacher = network.initial(2)
            found[mode] = clients.train(network.initial(1), work=work, round=1, other=teacher)

        Local(workers=2, mode=mode).run(SMALL, job)
    torch.testing.assert_close(
        found["workers"].deltas, found["cohort"].deltas, rtol=1e-4, atol=1e-5
    )
    assert found["workers"].deltas.any()
