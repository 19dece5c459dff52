"""Memorization where it is known: of drawn correctness, and of models that know their classes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fedunlearn.attacks import memorization, subset_banks
from fedunlearn.attacks.memorization import Bank
from fedunlearn.attacks.subset_banks import (
    Ground,
    bank_of_clients,
    bank_of_records,
    clients_taken,
    left_out,
    records_taken,
)
from fedunlearn.attacks.training_bank import train_bank
from fedunlearn.checks import Refused
from fedunlearn.data import (
    Change,
    Dataset,
    Digits,
    Iid,
    LabelNoise,
    NoPlanting,
    RandomShare,
    Records,
    Scenario,
    Shards,
    build_federation,
)
from fedunlearn.flower import Local
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.models import Mlp
from fedunlearn.unlearning import FedDyn, Training

pytestmark = pytest.mark.usefixtures("one_torch_thread")

HOLDERS = ((0,), (1,), (2,), (3,), (3,))
"""The class that each client holds: the last two hold the same."""


@dataclass(frozen=True)
class FarClasses:
    """Four classes at the corners of a wide tetrahedron: whoever saw one knows it."""

    each: int = 12

    def load(self):
        labels = torch.arange(4).repeat_interleave(self.each)
        inputs = 4.0 * torch.eye(4)[labels] + torch.linspace(0, 0.1, len(labels))[:, None]
        records = Records(inputs, labels)
        return Dataset(records, records, tuple("abcd"))


@dataclass(frozen=True)
class ByClass:
    clients: int = len(HOLDERS)
    minimum: int = 1

    def __call__(self, labels, rng):
        parts = []
        for client, held in enumerate(HOLDERS):
            rows = np.flatnonzero(np.isin(labels, held))
            sharing = [other for other, theirs in enumerate(HOLDERS) if theirs == held]
            parts.append(rows[sharing.index(client) :: len(sharing)])
        return tuple(parts)


FAR = Scenario(FarClasses(), ByClass(), NoPlanting(), Mlp((16,)), (), 1, 0.1, 0.0)
FAST = Training(rounds=6, work=LocalWork(epochs=4, batch_size=8, optimizer=Sgd(lr=0.1)))
SMALL = Scenario(Digits(), Iid(clients=4), NoPlanting(), Mlp((8,)), (), 3)
SHORT = Training(rounds=2, work=LocalWork(epochs=1))


def ground(scenario=FAR, training=FAST, mode="cohort"):
    return Ground.of(build_federation(scenario), Local(mode=mode).trainer(scenario), training)


def silent(trained):
    """Tell nobody."""


def drawn(p, q, models=64, inside=45, records=1, repeats=1, seed=0):
    """A bank of ``repeats`` blocks of records, right with chance p where held and q elsewhere."""
    rng = np.random.default_rng(seed)
    held = np.tile((np.arange(models) < inside)[:, None], (1, records * repeats))
    correct = rng.random(held.shape) < np.where(held, p, q)
    return Bank(correct, held, np.repeat(np.arange(repeats), records))


def test_memorization_is_the_difference_of_two_rates():
    held = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]], bool)
    correct = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 1]], bool)
    found = memorization.of_records(Bank(correct, held, np.array([0, 0, 1])))
    assert found.value.tolist() == [1.0, 0.0, 0.0]
    # p = q = 1/2 of two models each: 2 * .25 / 1
    np.testing.assert_allclose(found.error, [0.0, np.sqrt(0.5), 0.0])
    everybody = memorization.of_records(Bank(correct, np.ones_like(held), np.array([0, 0, 1])))
    assert np.isnan(everybody.value).all()
    assert np.isnan(everybody.error).all()


@pytest.mark.parametrize(("p", "q"), [(0.9, 0.4), (0.5, 0.5), (1.0, 0.7)])
def test_the_error_of_a_record_is_how_far_estimates_scatter(p, q):
    found = memorization.of_records(drawn(p, q, repeats=4000))
    assert found.value.mean() == pytest.approx(p - q, abs=0.01)
    assert np.sqrt(np.mean(found.error**2)) == pytest.approx(found.value.std(), rel=0.05)
    assert np.sqrt(np.mean(found.error**2)) == pytest.approx(
        np.sqrt(p * (1 - p) / 45 + q * (1 - q) / 19), rel=0.02
    )


def test_the_error_of_a_client_counts_models_and_not_records():
    """Each model is right about all of a client's records or about none."""
    one = drawn(0.9, 0.4, repeats=3000)
    many = Bank(np.repeat(one.correct, 20, 1), np.repeat(one.held, 20, 1), np.repeat(one.owner, 20))
    found, same = memorization.of_clients(many), memorization.of_clients(one)
    np.testing.assert_allclose(found.value, same.value)
    np.testing.assert_allclose(found.error, same.error)
    assert np.sqrt(np.mean(found.error**2)) == pytest.approx(found.value.std(), rel=0.05)


@pytest.mark.parametrize("together", [False, True])
def test_the_error_of_a_mean_over_records_is_how_far_it_scatters(together):
    """The jackknife, where models are right about records each by itself, or all at once."""
    values, errors = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        held = records_taken(12, 40, 0.7, seed)
        draws = rng.random((40, 1 if together else 12))
        correct = np.broadcast_to(draws, held.shape) < np.where(held, 0.8, 0.5)
        found = memorization.means_over_clients(Bank(correct, held, np.zeros(12, int)))
        values.append(found.value[0])
        errors.append(found.error[0])
    assert np.mean(values) == pytest.approx(0.3, abs=0.02)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.12)


def test_two_banks_of_the_same_seeds_are_compared_pair_by_pair():
    with_client, without = np.array([0.9, 0.8, 1.0]), np.array([0.5, 0.5, 0.5])
    found = memorization.of_pairs(with_client, without)
    assert found.value == pytest.approx(0.4)
    assert found.error == pytest.approx(0.1 / np.sqrt(3))
    assert np.isnan(memorization.of_pairs(with_client[:1], without[:1]).error).all()


def test_who_alone_holds_a_class_is_memorised_and_who_shares_one_is_not():
    """Right about a class is who saw it, so that the table of who took part says everything."""
    bank = bank_of_clients(ground(), 16, 0.6, silent)
    present = bank.held[:, bank.first]
    assert (present.sum(axis=1) == 3).all()
    known = present.copy()
    known[:, 3:] = present[:, 3:].any(axis=1, keepdims=True)
    np.testing.assert_array_equal(bank.of_owners(), known)
    found = memorization.of_clients(bank)
    assert found.value[:3].tolist() == [1, 1, 1]
    assert found.error[:3].tolist() == [0, 0, 0]
    for one, other in ((3, 4), (4, 3)):
        absent = ~present[:, one]
        wanted = 1 - present[absent, other].mean()  # 1/4 in the mean: two of four others
        assert found.value[one] == pytest.approx(wanted)
    # Left out alone, whoever shares a class is missed by nobody.
    with_all, without = left_out(ground(), 2, silent)
    assert with_all.all()
    for client, right in enumerate(without):
        assert right[:, bank.owner == client].all() == (client >= 3)
        assert right[:, bank.owner == client].any() == (client >= 3)


@pytest.mark.parametrize("mode", ["cohort", "workers"])
def test_a_model_of_a_bank_of_records_is_a_training_on_what_it_holds(mode):
    here = ground(SMALL, SHORT, mode)
    bank = bank_of_records(here, 8, 0.5, silent)
    assert (bank.held.sum(axis=0) == 4).all()
    parts = build_federation(SMALL).train
    kept = torch.from_numpy(bank.held[0]).split([len(part) for part in parts])
    shards = Shards.of([part.take(mask) for part, mask in zip(parts, kept, strict=True)])
    member = here.member(subset_banks.RECORDS, 0, range(4))
    (alone,) = train_bank([member], replace(here.trainer, shards=shards), SHORT, 2)
    assert (here.correct(alone) == bank.correct[0]).mean() > 0.999
    assert (bank.correct[1] == bank.correct[0]).mean() < 0.99


def test_a_client_left_with_no_record_takes_no_part():
    """With few records a model may have none of a client's."""
    tiny = replace(FAR, dataset=FarClasses(each=4), heldout=0.1)
    bank = bank_of_records(ground(tiny, SHORT), 8, 0.3, silent)
    assert not bank.held.all(axis=1).any()
    owned = np.stack([np.bincount(bank.owner[row], minlength=5) for row in bank.held])
    assert (owned == 0).any()


def test_tables_are_balanced():
    taken = clients_taken(10, 16, 0.7, 0)
    assert (taken.sum(axis=1) == 7).all()
    assert taken.sum(axis=0).min() >= 2
    assert (~taken).sum(axis=0).min() >= 2
    assert not np.array_equal(taken, clients_taken(10, 16, 0.7, 1))
    assert clients_taken(2, 8, 0.9, 0).sum() == 8
    held = records_taken(50, 16, 0.7, 0)
    assert (held.sum(axis=0) == 11).all()
    assert len(np.unique(held.T, axis=0)) > 40


def test_planted_records_are_marked_where_they_lie():
    noisy = replace(SMALL, planting=LabelNoise(share=0.1), leavers=(1, 2))
    here = ground(noisy, SHORT)
    assert here.planted.sum() == int(sum(map(torch.sum, build_federation(noisy).source.planted)))
    assert set(here.owner[here.planted]) == {1, 2}
    # who comes with half of its records trains on these, and they alone are asked about
    half = Change(0, (1,), "join", RandomShare(0.5))
    part = ground(replace(noisy, changes=(half,)), SHORT)
    assert len(part.planted) == len(part.records) < len(here.records)
    assert part.planted.sum() < here.planted.sum()


@pytest.mark.parametrize(
    ("change", "training", "sentence"),
    [
        ((), replace(SHORT, correction=FedDyn()), "know no training.correction"),
        ((Change(1, (2,), "join"),), SHORT, r"Clients \[2\] join after round 1"),
        ((Change(2, (1, 2, 3), "join"),), SHORT, "Only one client takes part"),
    ],
)
def test_a_federation_without_two_sides_is_refused(change, training, sentence):
    with pytest.raises(Refused, match=sentence):
        ground(replace(SMALL, changes=change), training)


def test_too_few_models_are_refused():
    with pytest.raises(Refused, match="Raise --models"):
        clients_taken(40, 8, 0.9, 0)
    with pytest.raises(Refused, match="too few to ask"):
        records_taken(2, 30, 0.1, 0)
    for count, share, named in ((7, 0.7, "--models"), (8, 0.95, "--share"), (8, 0, "--share")):
        with pytest.raises(Refused, match=named):
            subset_banks.require_bank(count, share)
