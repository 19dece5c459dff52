"""Relearn time where it has a closed form, and the index where it is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn import randomness
from fedunlearn.checks import Refused
from fedunlearn.data import Records
from fedunlearn.evaluators import Relearning, Snapshot
from fedunlearn.evaluators.relearn import anamnesis_index, relearn
from fedunlearn.local import LocalWork, Schedule, Sgd, train_locally
from fedunlearn.models import Mlp, Network
from fedunlearn.randomness import Stream
from tests.support.evaluated import CLASSES, randomly, saying
from tests.support.world import RATE, WORK, D, Offset

TARGET = torch.linspace(-1, 2, D)
SQUARE = Network(Offset(), (1, 1, D), D)


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def copies(n):
    """Records with loss |w - TARGET|^2 / 2 each."""
    return Records(TARGET.repeat(n, 1).view(n, 1, 1, D), torch.zeros(n, dtype=torch.int64))


def rng():
    return np.random.default_rng(0)


def squared(weights, threshold, most=50, work=WORK, n=5):
    return relearn(SQUARE, weights, copies(n), work, threshold, most, rng())


class TestOnAQuadratic:
    weights = torch.zeros(D)
    start = float(TARGET.double().square().sum() / 2)

    def after(self, steps):
        return self.start * (1 - RATE) ** (2 * steps)

    @pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01, 1e-4])
    def test_it_is_the_closed_form(self, share):
        expected = math.log(share) / (2 * math.log(1 - RATE))
        found = squared(self.weights, share * self.start)
        # a straight line between two looks lies above the loss
        assert expected * 0.999 < found < expected * 1.02 + 0.03

    def test_between_two_looks_the_loss_falls_evenly(self):
        for count in (0, 1, 7):
            ends = self.after(count), self.after(count + 1)
            for share in (0.25, 0.8):
                threshold = ends[0] + share * (ends[1] - ends[0])
                found = squared(self.weights, threshold)
                assert found == pytest.approx(count + share, abs=1e-3)
        # after 16 steps it is looked at every other step
        threshold = 0.5 * self.after(16) + 0.5 * self.after(18)
        assert squared(self.weights, threshold) == pytest.approx(17, abs=1e-3)

    def test_whole_steps_are_whole(self):
        for steps in (1, 2, 7, 18, 30):
            assert squared(self.weights, self.after(steps)) == pytest.approx(steps, abs=0.02)

    @pytest.mark.parametrize(("size", "n"), [(2, 6), (4, 6), (6, 6), (100, 6), (1, 1)])
    def test_a_step_is_a_batch_whatever_the_work_says_of_epochs(self, size, n):
        work = replace(WORK, batch_size=size, epochs=9)
        found = squared(self.weights, self.after(7), work=work, n=n)
        assert found == pytest.approx(7, abs=1e-3)

    def test_all_records_are_learnt_from(self, monkeypatch):
        seen, real = [], train_locally

        def noting(network, start, images, labels, *rest):
            seen.extend(labels.tolist())
            return real(network, start, images, labels, *rest)

        monkeypatch.setattr("fedunlearn.evaluators.relearn.train_locally", noting)
        numbered = Records(copies(10).inputs, torch.arange(10))
        relearn(SQUARE, self.weights, numbered, replace(WORK, batch_size=5), 0.0, 20, rng())
        assert len(seen) == 20 * 5
        assert [seen.count(record) for record in range(10)] == [10] * 10
        assert sorted(seen[:10]) == list(range(10))  # an epoch is over before the next begins
        assert seen[:10] != seen[10:20]
        seen.clear()
        relearn(SQUARE, self.weights, numbered, replace(WORK, batch_size=999), 0.0, 3, rng())
        assert len(seen) == 3 * 10  # no record twice in a step

    def test_what_is_known_takes_no_time(self):
        assert squared(self.weights, self.start * 1.001) == 0
        assert squared(TARGET, 0.0) == 0

    def test_what_is_not_learnt_in_time_takes_all_of_it(self):
        assert squared(self.weights, 0.0, most=4) == 4
        assert squared(self.weights, self.after(4) * 0.999, most=4) == 4
        assert 3.9 < squared(self.weights, self.after(4) * 1.001, most=4) < 4
        # also where the last look would come later
        assert squared(self.weights, self.after(17) * 1.001, most=17) == pytest.approx(17, abs=0.02)
        assert squared(self.weights, self.after(17) * 0.999, most=17) == 17

    def test_nothing_is_carried_over_a_look(self):
        # Momentum would speed up the second step, were it not begun anew.
        work = replace(WORK, optimizer=Sgd(lr=RATE, momentum=0.9))
        assert squared(self.weights, self.after(3), work=work) == pytest.approx(3, abs=1e-3)

    def test_the_learning_rate_stays(self):
        work = replace(WORK, schedule=Schedule("exponential", decay=0.5))
        assert squared(self.weights, self.after(3), work=work) == pytest.approx(3, abs=1e-3)

    def test_divergence_is_no_number(self):
        wild = replace(WORK, optimizer=Sgd(lr=1e20, momentum=0))
        assert math.isnan(squared(self.weights, 0.0, work=wild))
        assert math.isnan(squared(torch.full((D,), math.nan), 1.0))

    def test_the_weights_stay_as_they_were(self):
        before = self.weights.clone()
        squared(self.weights, self.after(2))
        assert torch.equal(self.weights, before)


class TestIndex:
    def test_it_is_a_ratio(self):
        assert anamnesis_index(6.0, 3.0, 10) == 2
        assert anamnesis_index(0.0, 3.0, 10) == 0
        assert anamnesis_index(10.0, 4.0, 10) == 2.5

    @pytest.mark.parametrize("retrained", [0.0, 10.0, math.nan])
    def test_nothing_is_told_where_the_reference_tells_nothing(self, retrained):
        assert math.isnan(anamnesis_index(5.0, retrained, 10))


class TestRelearning:
    network = Network(Mlp((8,)), (1, 1, CLASSES), CLASSES)
    held = randomly(40, seed=0)
    records = Records(held.inputs, held.inputs.flatten(1).argmax(dim=1))
    measure = Relearning(work=LocalWork(batch_size=8, optimizer=Sgd(lr=0.1, momentum=0.0)))

    def trained(self, epochs, seed=1):
        work = LocalWork(epochs=epochs, batch_size=8, optimizer=Sgd(lr=0.1, momentum=0.0))
        known = (self.records.inputs, self.records.labels, work, 1, rng())
        return train_locally(self.network, self.network.initial(seed), *known).weights

    def snapshot(self, weights, records=None, original=None):
        sets = {"forget": self.records if records is None else records}
        return Snapshot(self.network, weights, sets, self.network.initial(0), original=original)

    @property
    def original(self):
        return self.snapshot(self.trained(40))

    def shown(self, weights, retrained=None, **fields):
        model = self.snapshot(weights, original=self.original)
        other = None if retrained is None else self.snapshot(retrained)
        return replace(self.measure, **fields)(model, other)

    def test_the_original_knows_and_who_never_saw_the_records_learns(self):
        fresh = self.network.initial(2)
        values = self.shown(self.trained(40), fresh)
        assert values == {"relearn_steps": 0, "anamnesis_index": 0}
        values = self.shown(fresh, fresh)
        assert 5 < values["relearn_steps"] < 400
        assert values["anamnesis_index"] == 1

    def test_who_saw_a_little_is_in_between(self):
        fresh, half = self.network.initial(2), self.trained(8, seed=2)
        values = self.shown(half, fresh)
        assert 0 < values["anamnesis_index"] < 0.8
        alone = [self.shown(weights)["relearn_steps"] for weights in (half, fresh)]
        assert values["anamnesis_index"] == pytest.approx(alone[0] / alone[1])

    def test_the_reference_has_no_index(self):
        assert self.shown(self.network.initial(2)).keys() == {"relearn_steps"}

    def test_it_is_relearn_with_the_original_s_loss(self):
        fresh = self.network.initial(2)
        loss = -self.original.logits("forget").double().log_softmax(1)
        loss = float(loss.gather(1, self.records.labels[:, None]).mean())
        for slack in (0.5, 2.0):
            threshold, work = (1 + slack) * loss, self.measure.work
            order = randomness.rng(3, Stream.RELEARNING)
            given = (self.records, work, threshold, 400, order)
            expected = relearn(self.network, fresh, *given)
            found = self.shown(fresh, slack=slack, seed=3)["relearn_steps"]
            assert 0 < found < 400
            assert found == pytest.approx(expected, rel=1e-5)

    def test_a_larger_slack_is_reached_sooner(self):
        fresh = self.network.initial(2)
        times = [self.shown(fresh, slack=slack)["relearn_steps"] for slack in (0, 0.5, 1, 3)]
        assert times == sorted(times, reverse=True)
        assert len(set(times)) == 4

    def test_it_is_given_up_after_so_many_epochs(self):
        values = self.shown(self.network.initial(2), self.network.initial(3), most=2)
        assert values["relearn_steps"] == 2
        assert math.isnan(values["anamnesis_index"])

    def test_no_more_records_are_learnt_than_asked_for(self):
        fresh = self.network.initial(2)
        whole, original = self.snapshot(fresh), self.original
        few = whole.sampled("forget", 10)
        shown = self.snapshot(fresh, few, original=self.snapshot(original.weights, few))
        assert self.measure(shown, None) == self.shown(fresh, records=10)
        assert self.measure(shown, None) != self.shown(fresh)

    def test_the_seed_orders_the_records(self):
        fresh = self.network.initial(2)
        times = [self.shown(fresh, seed=seed)["relearn_steps"] for seed in (0, 0, 1)]
        assert times[0] == times[1] != times[2]

    def test_without_an_original_or_leavers_there_is_nothing_to_learn_anew(self):
        fresh = self.snapshot(self.network.initial(2))
        assert self.measure(fresh, fresh) == {}
        nobody = saying({"test": self.records})
        assert self.measure(replace(nobody, original=nobody), nobody) == {}

    def test_the_reference_learns_once_for_all_models(self, monkeypatch):
        learnt, real = [], relearn

        def counting(network, weights, *rest):
            learnt.append(weights)
            return real(network, weights, *rest)

        monkeypatch.setattr("fedunlearn.evaluators.relearn.relearn", counting)
        retrained, original = self.snapshot(self.network.initial(2)), self.original
        for seed in (3, 4):
            model = self.snapshot(self.network.initial(seed), original=original)
            self.measure(model, retrained)
        assert len(learnt) == 3
        # another original asks for another loss, so the reference learns anew
        other = self.snapshot(self.trained(50))
        self.measure(self.snapshot(self.network.initial(3), original=other), retrained)
        assert len(learnt) == 5

    @pytest.mark.parametrize(
        "fields", [{"slack": -0.1}, {"most": 0}, {"records": 0}, {"seed": -1}], ids=str
    )
    def test_impossible_values(self, fields):
        (name,) = fields
        with pytest.raises(Refused, match=f"Relearning.{name}"):
            Relearning(**fields)
