"""Shadow models: who is in them, what they train on, and that nobody else's records reach them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fedunlearn.attacks import pools, without
from fedunlearn.attacks import shadow_models as shadows_module
from fedunlearn.attacks.shadow_models import Setup, with_halves
from fedunlearn.attacks.training_bank import Member, train_bank
from fedunlearn.checks import Refused
from fedunlearn.data import (
    Backdoor,
    Change,
    Digits,
    Dirichlet,
    Iid,
    NoPlanting,
    Records,
    Scenario,
    build_federation,
)
from fedunlearn.experiment import training_seed
from fedunlearn.flower import Local
from fedunlearn.local import ChunkedTrainer, LocalWork, Threads
from fedunlearn.models import Mlp
from fedunlearn.unlearning import Training

LEAVERS = (3, 1)
ASKING = tuple(sorted(LEAVERS))
SCENARIO = Scenario(
    Digits(),
    Dirichlet(clients=5),
    NoPlanting(),
    Mlp((8,)),
    LEAVERS,
    seed=4,
    changes=(Change(2, ASKING),),
)
PLANTED = replace(SCENARIO, planting=Backdoor(share=0.8, target=9))
EVERYBODY = frozenset(range(5))
TRAINING = Training(rounds=2, work=LocalWork(epochs=1))
ROUNDS = TRAINING.rounds


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def setting(scenario=SCENARIO, mode="workers"):
    here = build_federation(scenario)
    return Setup.at(here, 1, Local(mode=mode).trainer(scenario), TRAINING)


def same(one, other):
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.labels, other.labels)


def test_without_planting_a_pool_is_all_that_a_leaver_holds():
    here = build_federation(SCENARIO)
    first, second = pools(here, 1)
    assert (first.client, second.client) == (1, 3)
    for pool in (first, second):
        assert len(pool.always) == 0
        assert same(pool.candidates.take(pool.member), here.train[pool.client])
        assert same(pool.candidates.take(~pool.member), here.heldout[pool.client])


def test_poisoned_records_are_in_no_question_and_in_every_training():
    here = build_federation(PLANTED)
    for pool in pools(here, 1):
        members = pool.candidates.take(pool.member)
        assert same(members, here.clean[pool.client])
        assert len(pool.always) + len(members) == len(here.train[pool.client])
        own = build_federation(SCENARIO).train[pool.client]  # the same records before planting
        changed = (own.inputs != here.train[pool.client].inputs).flatten(1).any(dim=1)
        assert same(pool.always, here.train[pool.client].take(changed))
        assert len(pool.always) > 20


def test_held_out_records_are_chosen_as_planting_chose_among_the_others():
    here = build_federation(PLANTED)
    for pool in pools(here, 1):
        others, heldout = pool.candidates.take(~pool.member), here.heldout[pool.client]
        of_target = int((heldout.labels == 9).sum())
        rest = len(heldout) - of_target
        assert int((others.labels == 9).sum()) == of_target
        assert len(others) == of_target + rest - round(0.8 * rest)
        pixels = {tuple(image.flatten().tolist()) for image in heldout.inputs}
        assert all(tuple(image.flatten().tolist()) in pixels for image in others.inputs)


@dataclass(frozen=True)
class Refusing(NoPlanting):
    """Poisons training records, but refuses so few as are held out."""

    def poison(self, records, order, rng):
        if len(records) < 30:
            raise Refused("Too few.")
        return Records(records.inputs, (records.labels + (torch.arange(len(records)) < 5)) % 10)


def test_held_out_records_that_planting_refuses_are_all_comparable():
    one = replace(SCENARIO, leavers=(1,), changes=(Change(2, (1,)),))
    here = build_federation(replace(one, partition=Iid(clients=12), planting=Refusing()))
    (pool,) = pools(here, 1)
    assert len(pool.always) == 5
    assert same(pool.candidates.take(~pool.member), here.heldout[1])


def test_every_record_is_in_one_twin_of_two():
    found = with_halves(setting(), ROUNDS, count=6)
    first, second = found.held[::2], found.held[1::2]
    assert (first == ~second).all()
    assert not (first[0] == first[1]).all()
    sizes = [len(pool.candidates) for pool in setting().pools]
    assert found.held.shape == (6, sum(sizes))
    assert abs(found.held[0][: sizes[0]].sum() - sizes[0] / 2) <= 0.5
    assert (found.held.sum(axis=0) == 3).all()


def test_halves_mix_members_and_others():
    held = setting().pools
    found = with_halves(setting(), ROUNDS, count=20).held
    member = torch.cat([pool.member for pool in held]).numpy()
    share = found[:, member].mean(axis=1)
    assert share == pytest.approx([0.5] * 20, abs=0.2)
    assert len(set(share)) > 5


@pytest.mark.parametrize("scenario", [SCENARIO, PLANTED], ids=["clean", "planted"])
def test_a_leaver_trains_on_what_is_noted_and_on_all_that_is_poisoned(scenario):
    here, held = build_federation(scenario), setting(scenario).pools
    found = with_halves(setting(scenario), ROUNDS, count=2)
    for member, mask in zip(found.members, found.held, strict=True):
        assert member.clients >= {0, 2, 4}
        own = sorted(member.clients - EVERYBODY)
        assert len(own) == 2
        assert not member.clients & set(LEAVERS)
        first = len(held[0].candidates)
        for pool, client, chosen in zip(held, own, np.split(mask, [first]), strict=True):
            wanted = Records.joined([pool.always, pool.candidates.take(torch.from_numpy(chosen))])
            assert same(found.trainer.shards[client], wanted)
    for client in range(5):
        assert same(found.trainer.shards[client], here.train[client])


def test_seeds_are_those_of_no_other_model():
    kinds = with_halves(setting(), ROUNDS, count=4), without(setting(), ROUNDS, count=4)
    other = replace(setting(), federation=build_federation(replace(SCENARIO, seed=5)))
    elsewhere = without(other, ROUNDS, count=4)
    seeds = [member.seed for kind in (*kinds, elsewhere) for member in kind.members]
    assert len(set(seeds)) == 12
    trainings = [training_seed(seed, f"retrain-{n}") for seed in range(6) for n in range(1, 6)]
    assert set(seeds).isdisjoint([*trainings, *range(10**6)])
    for kind in kinds:
        for member in kind.members:
            assert torch.equal(member.initial, setting().federation.network.initial(member.seed))


def test_as_many_clients_are_asked_as_in_training():
    for share in (0.1, 0.4, 0.7, 1.0):
        training = replace(TRAINING, cohort=share)
        found = with_halves(replace(setting(), training=training), ROUNDS, 4)
        size = found.training.cohort_size(len(found.trainer.shards))
        assert size == training.cohort_size(5)


@pytest.mark.parametrize("mode", ["workers", "cohort"])
def test_a_record_reaches_the_models_that_hold_it_and_no_others(mode):
    """A pixel that is no number makes every model that trains on it no number."""
    setup = setting(mode=mode)
    setup.pools[0].candidates.inputs[7] = torch.nan
    found = with_halves(setup, ROUNDS, count=4)
    assert isinstance(found.trainer, Threads if mode == "workers" else ChunkedTrainer)
    models = torch.cat(list(found.trained()))
    assert models.isnan().any(dim=1).tolist() == found.held[:, 7].tolist()
    assert 0 < found.held[:, 7].sum() < 4


def test_models_without_the_leavers_are_ordinary_retrained_ones():
    setup = setting()
    found = without(setting(), ROUNDS, count=3)
    members = [
        Member(setup.federation.network.initial(m.seed), m.seed, frozenset({0, 2, 4}))
        for m in found.members
    ]
    expected = train_bank(members, setup.trainer, setup.training, ROUNDS)
    assert torch.equal(torch.cat(list(found.trained())), expected)
    assert found.held.shape == (3, sum(len(pool.candidates) for pool in setup.pools))
    assert not found.held.any()


def test_who_left_before_takes_part_in_nothing():
    setup = replace(setting(), present=frozenset({1, 2, 3}))
    for found in (with_halves(setup, ROUNDS, 2), without(setup, ROUNDS, 2)):
        for member in found.members:
            assert member.clients & EVERYBODY == {2}


def test_models_come_in_batches_in_their_order(monkeypatch):
    whole = torch.cat(list(with_halves(setting(), ROUNDS, count=4).trained()))
    monkeypatch.setattr(shadows_module, "AT_ONCE", 10)  # two models of five clients
    parts = list(with_halves(setting(), ROUNDS, count=4).trained())
    assert [len(part) for part in parts] == [2, 2]
    assert torch.equal(torch.cat(parts), whole)


def test_what_cannot_be_is_refused():
    setup = setting()
    with pytest.raises(Refused, match="pairs of twins, so 5"):
        with_halves(setup, ROUNDS, 5)
    for count in (0, -2):
        with pytest.raises(Refused, match="at least 2"):
            with_halves(setup, ROUNDS, count)
        with pytest.raises(Refused, match="at least 1"):
            without(setup, ROUNDS, count)
    with pytest.raises(Refused, match="Every client has left"):
        without(replace(setup, present=LEAVERS), ROUNDS, 2)
    first = setup.pools[0]
    lonely = replace(
        first, candidates=first.candidates.take(torch.tensor([0])), member=torch.ones(1) > 0
    )
    with pytest.raises(Refused, match="Client 1 holds 1 records that were not poisoned"):
        with_halves(replace(setup, pools=[lonely]), ROUNDS, 2)
