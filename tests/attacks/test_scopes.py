"""Attacks and the score where a request takes some of a client's records, or clients come."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.attacks.model_answers import question_sets
from fedunlearn.attacks.shadow_models import Setup, pools, with_halves, without
from fedunlearn.checks import Refused
from fedunlearn.data import (
    Backdoor,
    Change,
    Digits,
    Dirichlet,
    Everything,
    NoPlanting,
    PlantedRecords,
    RandomShare,
    Records,
    Scenario,
    WithLabels,
    build_federation,
)
from fedunlearn.flower import Local
from fedunlearn.local import LocalWork
from fedunlearn.models import Mlp
from fedunlearn.unlearning import Training

TRAINING = Training(rounds=2, work=LocalWork(epochs=1))
LEAVING = Scenario(
    Digits(),
    Dirichlet(clients=5),
    NoPlanting(),
    Mlp((8,)),
    (1, 3),
    seed=4,
    changes=(Change(4, (1, 3)),),
)
PLANTED = replace(LEAVING, planting=Backdoor(share=0.8, target=9))

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def changed(*changes, of=LEAVING):
    return replace(of, changes=changes)


def scoped(scope, of=LEAVING):
    return changed(Change(4, (1, 3), scope=scope), of=of)


def setup_of(scenario, number=1):
    return Setup.at(build_federation(scenario), number, Local().trainer(scenario), TRAINING)


def same(one, other):
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.labels, other.labels)


def rows(records):
    """The records as a sorted list, whatever their order."""
    return sorted(
        (int(label), *image.flatten().tolist())
        for label, image in zip(records.labels, records.inputs, strict=True)
    )


def asked(scenario, number=1):
    return question_sets(build_federation(scenario), number, most=50)


@pytest.mark.parametrize("of", [LEAVING, PLANTED], ids=["clean", "planted"])
def test_a_share_of_one_is_attacked_and_scored_like_leaving(of):
    whole, everything = (setup_of(scoped(s, of)) for s in (Everything(), RandomShare(1.0)))
    assert whole.present == everything.present
    assert whole.remaining == everything.remaining == {0, 2, 4}
    for one, other in zip(whole.pools, everything.pools, strict=True):
        assert one.client == other.client
        assert torch.equal(one.member, other.member)
        for part in ("always", "candidates", "kept"):
            assert same(getattr(one, part), getattr(other, part))
        assert len(one.kept) == 0
    for kind in (with_halves, without):
        models = [torch.cat(list(kind(s, 2, 2).trained())) for s in (whole, everything)]
        assert torch.equal(*models)
    sets = [asked(scoped(s, of)) for s in (Everything(), RandomShare(1.0))]
    assert all(same(sets[0][part], sets[1][part]) for part in sets[0])


def test_a_share_of_nothing_asks_nobody():
    here = build_federation(scoped(RandomShare(0.0)))
    assert pools(here, 1) == ()
    assert here.holdings.asking(1) == frozenset()


@pytest.mark.parametrize("scope", [RandomShare(0.3), WithLabels((7, 2))], ids=["share", "labels"])
@pytest.mark.parametrize("of", [LEAVING, PLANTED], ids=["clean", "planted"])
def test_a_pool_is_what_goes_and_what_a_client_keeps_is_in_every_model(scope, of):
    setup = setup_of(scoped(scope, of))
    here = setup.federation
    halves, out = with_halves(setup, 2, 2), without(setup, 2, 2)
    for pool in setup.pools:
        members, held_out = pool.candidates.take(pool.member), pool.candidates.take(~pool.member)
        train = here.train[pool.client]
        assert rows(Records.joined([members, pool.always, pool.kept])) == rows(train)
        assert 0 < len(pool.kept) < len(train)
        if isinstance(scope, WithLabels):
            for part in (members, held_out):
                assert set(part.labels.tolist()) <= {7, 2}
            assert not set(pool.kept.labels.tolist()) & {7, 2}
        assert same(out.trainer.shards[pool.client], pool.kept)
    for member in out.members:
        assert member.clients == set(range(5))
    for member in halves.members:
        assert member.clients >= {0, 2, 4}
        for pool, client in zip(setup.pools, sorted(member.clients - set(range(5))), strict=True):
            own = halves.trainer.shards[client]
            assert same(own.take(torch.arange(len(own)) < len(pool.kept)), pool.kept)
            assert len(own) <= len(pool.kept) + len(pool.always) + len(pool.candidates) // 2 + 1


def test_only_planted_records_leave_no_members():
    (pool,) = pools(
        build_federation(changed(Change(4, (1,), scope=PlantedRecords()), of=PLANTED)), 1
    )
    assert not pool.member.any()
    assert len(pool.always) > 20
    assert same(Records.joined([pool.kept]), build_federation(PLANTED).clean[1])


def test_what_earlier_requests_took_is_in_nothing():
    scenario = changed(
        Change(2, (1,), scope=RandomShare(0.5)),
        Change(3, (0,)),
        Change(4, (1, 2), scope=WithLabels((3,))),
    )
    setup = setup_of(scenario, number=3)
    here = setup.federation
    assert setup.present == {1, 2, 3, 4}
    taken = here.holdings.erased(1)[1]
    (one, _) = setup.pools
    mine = Records.joined([one.candidates.take(one.member), one.kept])
    assert rows(mine) == rows(here.train[1].take(~taken))
    retained = asked(scenario, 3)["retained"]
    assert len(retained) <= len(here.dataset.test)
    assert 3 not in {int(label) for label in one.kept.labels}


def test_retained_records_are_those_that_clients_then_hold():
    scenario = changed(
        Change(2, (1,), scope=WithLabels((3,))), Change(3, (0,)), Change(4, (4,), kind="join")
    )
    here = build_federation(scenario)
    for number, there in ((1, {0, 1, 2, 3}), (2, {1, 2, 3})):
        kept = here.kept(number)
        expected = Records.joined([kept[client] for client in sorted(there)])
        whole = question_sets(here, number, most=50)["retained"]
        assert len(whole) == min(len(expected), len(here.dataset.test))
        assert set(rows(whole)) <= set(rows(expected))
        assert len(kept[1]) == int((here.train[1].labels != 3).sum())


def test_joins_on_the_way_are_refused_and_others_are_not():
    late = Change(3, (2,), kind="join")
    with pytest.raises(Refused, match=r"Clients \[2\] join after round 3 .* before request 1"):
        setup_of(changed(late, Change(4, (1, 3))))
    for after in (4, 5):  # whoever comes when the request has been served is not there
        setup = setup_of(changed(Change(4, (1, 3)), Change(after, (2,), kind="join")))
        assert setup.present == {0, 1, 3, 4}
    begins = Change(0, (1,), kind="join", scope=RandomShare(0.5))  # with a part, from round 1
    setup = setup_of(changed(begins, Change(4, (1, 3))))
    assert setup.present == set(range(5))
    half = round(0.5 * len(setup.federation.train[1]))
    assert int(setup.pools[0].member.sum()) == half


def test_who_returns_later_is_away_until_then():
    setup = setup_of(changed(Change(2, (1, 3)), Change(4, (1,), kind="join")))
    assert setup.remaining == {0, 2, 4}
    assert [len(pool.kept) for pool in setup.pools] == [0, 0]
