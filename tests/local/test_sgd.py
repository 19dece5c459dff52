from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, AdamW

from fedunlearn.checks import Refused
from fedunlearn.flower import encode
from fedunlearn.flower.messages import decode, kinds_in
from fedunlearn.local import (
    Adam,
    CrossEntropy,
    Distillation,
    LocalWork,
    Proximal,
    Schedule,
    Sgd,
    train_locally,
)
from fedunlearn.models import Cnn, LeNet5, Mlp, Network, ResNet18
from fedunlearn.unlearning import Plain, Projected
from tests.support.world import HalfSquare, Scaled

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(50, 1, 8, 8, generator=GENERATOR)
LABELS = torch.randint(0, 10, (50,), generator=GENERATOR)
NETWORK = Network(Mlp((16,)), (1, 8, 8), 10)


def locally(work, round=1, network=NETWORK, seed=4):
    start = network.initial(1)
    rng = np.random.default_rng(seed)
    return start, train_locally(network, start, IMAGES, LABELS, work, round, rng).weights


class TestTheLoop:
    @pytest.mark.parametrize(
        ("optimizer", "torch_s"),
        [
            (Sgd(0.1, momentum=0.0), partial(SGD, lr=0.1)),
            (Sgd(0.1, 0.9, 0.01), partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.01)),
            (
                Sgd(0.1, 0.8, 0.01, nesterov=True),
                partial(SGD, lr=0.1, momentum=0.8, weight_decay=0.01, nesterov=True),
            ),
            (Adam(0.01), partial(AdamW, lr=0.01, weight_decay=0)),
            (
                Adam(0.01, 0.8, 0.95, weight_decay=0.1),
                partial(AdamW, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1),
            ),
        ],
    )
    def test_is_plain_pytorch(self, optimizer, torch_s):
        """The same loop with a module, its parameters and a torch optimizer, tensor by tensor."""
        work = LocalWork(epochs=2, batch_size=16, optimizer=optimizer)
        start, trained = locally(work)
        module = Mlp((16,))((1, 8, 8), 10)
        module.load_state_dict(NETWORK.layout.named(start))
        plain = torch_s(module.parameters())
        rng = np.random.default_rng(4)
        for _ in range(2):
            for rows in torch.from_numpy(rng.permutation(50)).split(16):
                plain.zero_grad()
                functional.cross_entropy(module(IMAGES[rows]), LABELS[rows]).backward()
                plain.step()
        torch.testing.assert_close(trained, NETWORK.layout.flatten(module.state_dict()))

    def test_leaves_the_start_alone_and_repeats_itself(self):
        start, once = locally(LocalWork(epochs=1))
        assert torch.equal(start, NETWORK.initial(1))
        assert torch.equal(once, locally(LocalWork(epochs=1))[1])
        assert not torch.equal(once, locally(LocalWork(epochs=1), seed=5)[1])

    def test_steps_cover_every_record_once_an_epoch(self):
        work = LocalWork(epochs=3, batch_size=16)
        assert work.sizes(50) == [16, 16, 16, 2] * 3
        assert work.sizes(32) == [16, 16] * 3
        epochs = work.order(50, np.random.default_rng(0)).reshape(3, 50)
        assert (np.sort(epochs) == np.arange(50)).all()
        assert (epochs[0] != epochs[1]).any()

    def test_batches_end_a_round_in_the_middle_of_an_epoch(self):
        work = LocalWork(epochs=3, batch_size=16, batches=5)
        assert work.sizes(50) == [16, 16, 16, 2, 16]
        assert work.samples(50) == 66
        whole = replace(work, batches=None)
        assert whole.samples(50) == 150
        some, every = (each.order(50, np.random.default_rng(0)) for each in (work, whole))
        assert (some == every[:66]).all()
        assert replace(work, batches=12).sizes(50) == whole.sizes(50)
        assert work.scaled(0.5) == replace(work, epochs=2, batches=3)

    def test_a_round_of_one_batch_is_one_step(self):
        plain = Sgd(0.1, momentum=0.0)
        one = LocalWork(epochs=2, batch_size=50, batches=1, optimizer=plain)
        start, trained = locally(one)
        losses = CrossEntropy()(NETWORK, start.requires_grad_(), IMAGES, LABELS, start[None])
        (gradient,) = torch.autograd.grad(losses.mean(), start)
        torch.testing.assert_close(trained, (start - 0.1 * gradient).detach())

    def test_the_learning_rate_decays_by_round(self):
        work = LocalWork(
            epochs=1,
            batch_size=50,
            optimizer=Sgd(0.1, momentum=0),
            schedule=Schedule("exponential", decay=0.5),
        )
        start, first = locally(work)
        _, third = locally(work, round=3)
        torch.testing.assert_close(third - start, (first - start) / 4, rtol=1e-3, atol=1e-7)

    def test_gradients_are_clipped(self):
        work = LocalWork(epochs=1, batch_size=50, optimizer=Sgd(1.0, momentum=0), clip_norm=0.01)
        start, trained = locally(work)
        torch.testing.assert_close((trained - start).norm(), torch.tensor(0.01))

    def test_buffers_stay_as_they_came(self):
        network = Network(lambda shape, classes: Scaled(), (1, 8, 8), 10)
        work = LocalWork(epochs=1, optimizer=Sgd(0.1, weight_decay=0.5))
        start, trained = locally(work, network=network)
        before, after = (network.layout.named(weights) for weights in (start, trained))
        assert torch.equal(after["scale"], before["scale"])
        assert not torch.equal(after["layer.weight"], before["layer.weight"])


class TestObjectives:
    def test_proximal_adds_the_pull_to_the_start(self):
        start = NETWORK.initial(1)
        weights = start + 0.01
        plain = CrossEntropy()(NETWORK, weights, IMAGES, LABELS, start[None])
        pulled = Proximal(mu=3.0)(NETWORK, weights, IMAGES, LABELS, start[None])
        penalty = torch.full((50,), 1.5 * 1e-4 * len(start))
        torch.testing.assert_close(pulled - plain, penalty)

    def test_a_strong_pull_keeps_a_client_near(self):
        drift = []
        for mu in (0.0, 20.0):
            work = LocalWork(epochs=5, objective=Proximal(mu))
            start, trained = locally(work)
            drift.append((trained - start).norm())
        assert torch.equal(
            locally(LocalWork(epochs=5))[1],
            locally(LocalWork(epochs=5, objective=Proximal(0.0)))[1],
        )
        assert drift[1] < 0.5 * drift[0]

    def test_distillation_vanishes_for_the_teacher_itself_and_grows_with_distance(self):
        start = NETWORK.initial(1)
        teacher = NETWORK(start, IMAGES)
        loss = Distillation(temperature=2.0)
        assert loss(NETWORK, start, IMAGES, teacher, start[None]).abs().max() < 1e-6
        assert loss(NETWORK, NETWORK.initial(2), IMAGES, teacher, start[None]).min() > 1e-5

    def test_distillation_is_its_formula(self):
        start, tau = NETWORK.initial(2), 3.0
        teacher = 4 * torch.randn(50, 10, generator=torch.Generator().manual_seed(1))
        student = NETWORK(start, IMAGES)
        q, p = (torch.softmax(z / tau, dim=1) for z in (teacher, student))
        expected = tau**2 * (q * (q / p).log()).sum(dim=1)
        loss = Distillation(tau)(NETWORK, start, IMAGES, teacher, start[None])
        torch.testing.assert_close(loss, expected)


class TestWire:
    def test_work_survives_its_message(self):
        work = LocalWork(3, 7, Schedule(warmup=2), 1.5, Adam(0.1), Proximal(0.25))
        assert decode(encode(work)) == work
        own = replace(work, objective=HalfSquare())
        assert decode(encode(own), kinds_in(own)) == own


class TestNetworks:
    @pytest.mark.parametrize(
        ("build", "shape", "size"),
        [
            (Mlp(), (1, 8, 8), 64 * 64 + 64 + 64 * 10 + 10),
            (Cnn(), (1, 8, 8), 38_282),
            (LeNet5(), (1, 28, 28), 61_706),
            (LeNet5(), (3, 32, 32), 62_006),
            (ResNet18(), (3, 32, 32), 11_173_962),
        ],
    )
    def test_sizes_and_outputs(self, build, shape, size):
        network = Network(build, shape, 10)
        assert network.layout.size == size
        assert not any(part.buffer for part in network.layout.parts)
        with torch.no_grad():
            assert network(network.initial(0), torch.rand(2, *shape)).shape == (2, 10)

    def test_initial_weights_are_a_function_of_the_seed_alone(self):
        torch.manual_seed(0)
        one = NETWORK.initial(3)
        torch.rand(5)
        assert torch.equal(one, NETWORK.initial(3))
        assert not torch.equal(one, NETWORK.initial(4))
        torch.manual_seed(0)
        before = torch.rand(1)
        torch.manual_seed(0)
        NETWORK.initial(9)
        assert torch.equal(before, torch.rand(1))

    def test_saved_models_load_into_the_module(self):
        start = NETWORK.initial(1)
        module = Mlp((16,))((1, 8, 8), 10)
        module.load_state_dict(NETWORK.layout.named(start))
        torch.testing.assert_close(module(IMAGES), NETWORK(start, IMAGES))

    def test_hidden_state_is_refused_with_a_reason(self):
        def normed(shape, classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))

        with pytest.raises(Refused, match=r"layer 2 is BatchNorm1d.*Use GroupNorm"):
            Network(normed, (1, 8, 8), 10)

    def test_misfits_are_refused(self):
        with pytest.raises(Refused, match=r"lenet5 needs images of at least 28x28; these are 8x8"):
            Network(LeNet5(), (1, 8, 8), 10)
        with pytest.raises(Refused, match="must divide 64"):
            ResNet18(groups=3)
        with pytest.raises(Refused, match=r"Mlp.hidden\[0\] must be a whole number"):
            Mlp((0,))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            lambda: LocalWork(epochs=0),
            "LocalWork.epochs must be a whole number of at least 1, not 0",
        ),
        (lambda: LocalWork(batch_size=1.5), "LocalWork.batch_size"),
        (
            lambda: LocalWork(batches=0),
            "LocalWork.batches must be a whole number of at least 1 or null, not 0",
        ),
        (
            lambda: Plain(batches=0),
            "Plain.batches must be a whole number of at least 1 or null, not 0",
        ),
        (lambda: Projected(batches=-1), "Projected.batches must be a whole number"),
        (lambda: Schedule(decay=1.5), "at most 1, not 1.5"),
        (lambda: LocalWork(clip_norm=0), "LocalWork.clip_norm must be a number above 0"),
        (lambda: Sgd(lr=float("nan")), "Sgd.lr must be a number above 0, not nan"),
        (lambda: Sgd(lr=float("inf")), "not inf"),
        (lambda: Sgd(lr="fast"), "not 'fast'"),
        (lambda: Adam(beta2=2), "Adam.beta2"),
        (lambda: Proximal(mu=-1), "Proximal.mu"),
        (lambda: Distillation(temperature=0), "Distillation.temperature"),
    ],
)
def test_wrong_work_is_refused(wrong, sentence):
    with pytest.raises(Refused, match=sentence):
        wrong()
