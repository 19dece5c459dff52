"""FedQUIT: the virtual teacher's loss by hand, what it converges to, and who pays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn import randomness
from fedunlearn.checks import Refused
from fedunlearn.data import Records, Shards
from fedunlearn.flower import encode
from fedunlearn.flower.messages import decode
from fedunlearn.history import Needs
from fedunlearn.local import Adam, LocalWork, Schedule, Sgd, VirtualTeacher, train_locally
from fedunlearn.local.cohort import train_cohort
from fedunlearn.models import Mlp, Network, mean
from fedunlearn.randomness import Stream
from fedunlearn.unlearning import Ledger, NoRecovery, Plain, Request, Training, forget
from strategies.fedquit import FedQuit
from tests.support.unlearned import curve
from tests.support.world import WORK, World, finish, without_leavers

NETWORK = Network(Mlp((5,)), (1, 4, 4), 6)


def records(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 4, 4, generator=generator)
    return Records(images, torch.randint(0, 6, (count,), generator=generator))


def likely_labels(held, start):
    """Label each record with one of the three classes that the start holds likeliest for it.

    Where the start already gives the true class its least logit, teacher and student agree: the
    gradient is zero but for rounding, and Adam makes a whole step of either sign of it.
    """
    ranked = NETWORK(start, held.inputs).argsort(1, descending=True)
    return replace(held, labels=ranked.gather(1, held.labels[:, None] % 3)[:, 0])


def by_hand(weights, held, start, temperature):
    """Return the losses record by record, by loops over classes."""
    losses = []
    for image, label in zip(held.inputs, held.labels.tolist(), strict=True):
        known = NETWORK(start, image[None])[0].double().tolist()
        known[label] = min(known)
        teacher = np.exp(np.array(known) / temperature)
        teacher /= teacher.sum()
        student = np.exp(NETWORK(weights, image[None])[0].double().numpy() / temperature)
        student /= student.sum()
        losses.append(temperature**2 * sum(teacher * np.log(teacher / student)))
    return torch.tensor(losses)


class TestVirtualTeacher:
    @pytest.mark.parametrize("temperature", [1.0, 3.0])
    def test_is_the_divergence_from_the_start_s_logits_but_for_the_true_class(self, temperature):
        held, start, weights = records(20), NETWORK.initial(1) * 3, NETWORK.initial(2) * 3
        loss = VirtualTeacher(temperature)(
            NETWORK, weights, held.inputs, held.labels, torch.stack([start, weights])
        )
        torch.testing.assert_close(
            loss.double(), by_hand(weights, held, start, temperature), rtol=1e-4, atol=1e-6
        )

    def test_the_gradient_goes_through_the_student_only(self):
        """By the logits it is student minus teacher: their sum over classes is zero."""
        held, start = records(1), NETWORK.initial(1)
        leaf = start.clone().requires_grad_()
        loss = VirtualTeacher()(NETWORK, leaf, held.inputs, held.labels, leaf[None])
        (found,) = torch.autograd.grad(loss.sum(), leaf)
        logits = NETWORK(start, held.inputs)[0]
        virtual = logits.clone()
        virtual[held.labels[0]] = logits.min()
        wanted = torch.softmax(logits, 0) - torch.softmax(virtual, 0)
        torch.testing.assert_close(NETWORK.layout.named(found)["3.bias"], wanted)
        assert wanted[held.labels[0]] > 0.01

    @pytest.mark.parametrize("one_each", [False, True])
    def test_a_cohort_learns_what_each_would_alone(self, one_each):
        work = LocalWork(epochs=2, optimizer=Adam(0.01), objective=VirtualTeacher(2.0))
        starts = torch.stack([NETWORK.initial(seed if one_each else 9) for seed in range(3)])
        held = [
            likely_labels(records(size, seed), start)
            for seed, (size, start) in enumerate(zip((30, 7, 33), starts, strict=True))
        ]
        rngs = [[np.random.default_rng([5, client]) for client in range(3)] for _ in range(2)]
        sent = starts if one_each else starts[0]
        together = train_cohort(NETWORK, sent, Shards.of(held), range(3), work, 1, rngs[0]).weights
        for row, start, own, rng in zip(together, starts, held, rngs[1], strict=True):
            alone = train_locally(NETWORK, start, own.inputs, own.labels, work, 1, rng).weights
            torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-5)
            assert (row - start).norm() > 1e-2

    def test_travels_as_json(self):
        assert decode(encode(FedQuit().work)) == FedQuit().work

    def test_refuses_a_temperature_of_zero(self):
        with pytest.raises(Refused, match=r"VirtualTeacher\.temperature must be a number above 0"):
            VirtualTeacher(0)


LONG = LocalWork(
    epochs=4000, batch_size=1000, optimizer=Sgd(lr=1.0, momentum=0), objective=VirtualTeacher()
)


def virtual(world, leaver, weights):
    """Return what the teacher says of a leaver's record in the world of offsets, [D]."""
    held = world.here.train[leaver]
    logits = world.here.network(weights, held.inputs[:1])[0]
    logits[leaver] = logits.min()
    return torch.softmax(logits, 0), held.inputs[:1]


class TestFedQuit:
    def test_one_leaver_comes_to_say_what_its_teacher_says(self):
        world = World()
        (found,), history = curve(FedQuit(LONG), [3], world)
        teacher, image = virtual(world, 3, history.final)
        torch.testing.assert_close(
            torch.softmax(world.here.network(found, image)[0], 0), teacher, rtol=1e-3, atol=1e-4
        )
        before = torch.softmax(world.here.network(history.final, image)[0], 0)
        assert before[3] > teacher[3] + 0.01

    @pytest.mark.parametrize("leavers", [[2], [0, 3]], ids=str)
    def test_is_the_mean_of_what_each_leaver_makes_of_the_present_model(self, leavers):
        world, work = World(), replace(FedQuit().work, schedule=Schedule("exponential", decay=0.7))
        (found,), history = curve(FedQuit(work), leavers, world)
        alone = []
        for leaver in leavers:
            held, rng = (
                world.here.train[leaver],
                randomness.rng(world.seed, Stream.CLIENT, 0, 7, leaver),
            )
            weights = train_locally(
                *(world.here.network, history.final, held.inputs, held.labels),
                *(work, 7, rng),
            ).weights
            alone.append(weights)
        sizes = torch.tensor([len(world.here.train[leaver]) for leaver in leavers])
        torch.testing.assert_close(found, mean(torch.stack(alone), sizes))
        assert (found - history.final).norm() > 1e-4

    def test_every_leaver_works_even_where_a_round_asks_few(self):
        world = World(training=Training(rounds=5, cohort=0.25, work=WORK))
        ledger = Ledger()
        with world.open() as clients:
            course = world.trained(clients)
            asked = without_leavers(clients, [0, 1, 3], FedQuit().needs)
            asked = replace(asked, ledger=ledger)
            list(FedQuit().unlearn(Request(frozenset({0, 1, 3}), 5), course.history, asked))
        found = [(charge.client, charge.samples, charge.bytes_down) for charge in ledger]
        assert found == [(i, len(world.here.train[i]), 24) for i in (0, 1, 3)]

    def test_two_requests_in_sequence_and_then_ordinary_rounds_of_the_others(self):
        world = World()
        with world.open() as clients:
            course = world.trained(clients, Needs())
            for leaver in (1, 2):
                before = course.history.final
                ledger = len(clients.ledger.charges)
                steps = forget(course, frozenset({leaver}), FedQuit(), Plain(1), clients, Needs())
                course = finish(steps)
                asked = [charge.client for charge in clients.ledger.charges[ledger:]]
                assert asked == [leaver, *sorted(course.present)]
                assert not torch.equal(course.history.final, before)
            steps = forget(course, frozenset({0}), FedQuit(), NoRecovery(), clients, Needs())
            assert finish(steps).present == {3}

    def test_asks_the_leavers_alone(self):
        assert FedQuit().needs == Needs(leaver=True)
        assert FedQuit().length(Request(frozenset({1}), 3)) == 1
        assert FedQuit().work.epochs == 1
        assert FedQuit().work.optimizer == Adam(lr=0.001)
