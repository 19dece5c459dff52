"""What requests with a scope, joins and returns mean, through the real stack."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import (
    Backdoor,
    Dirichlet,
    Everything,
    NoPlanting,
    PlantedRecords,
    RandomShare,
    Scenario,
    WithLabels,
    build_federation,
)
from fedunlearn.flower import Local
from fedunlearn.history import History, Needs
from fedunlearn.local import LocalWork, train_locally
from fedunlearn.models import Mlp
from fedunlearn.randomness import Stream, entropy, generator
from fedunlearn.unlearning import (
    Access,
    FederationState,
    Join,
    NoRecovery,
    Plain,
    Request,
    Training,
    changes,
    forget,
    plan,
    train,
)
from strategies.none import Nothing
from strategies.retrain import Retrain
from tests.support.grid_clients import scenario_clients
from tests.support.world import FewDigits, finish

TRAINING = Training(rounds=6, work=LocalWork(epochs=1))
KEEP = Needs(updates=True, models=True)


def scenario(requests=(), joins=(), planting=NoPlanting(), leavers=(), seed=3):
    return Scenario(
        *(FewDigits(), Dirichlet(clients=4), planting, Mlp((8,)), leavers, seed),
        changes=changes(requests, joins),
    )


def under(engine, here, work, training=TRAINING):
    """Run ``work(federation, clients)`` under an engine and return what it returns."""
    made = []
    engine.run(
        here,
        lambda connection: made.append(
            work(build_federation(here), scenario_clients(connection, training, here))
        ),
    )
    return made[0]


def followed(requests, joins=(), strategy=Retrain(), recovery=NoRecovery(), training=TRAINING):
    """Serve all requests in turn as a run does; return the models after each round and at last."""
    here = scenario(requests, joins)

    def work(federation, clients):
        history = History(federation.network.layout, federation.initial, federation.initial)
        state = FederationState(history, frozenset()).with_members(federation.holdings.since(0))
        models = []
        for number, request in enumerate(plan(requests, 4, training.rounds, joins), start=1):
            state = finish(train(state, clients, request.after, KEEP))
            asking, members = (
                federation.holdings.asking(number),
                federation.holdings.since(number),
            )
            steps = forget(
                *(state, asking, strategy, recovery, clients, KEEP), request.scope, members
            )
            state = finish(steps)
            models.append(state.history.final)
        return models, finish(train(state, clients, training.rounds, KEEP))

    return under(Local(workers=2, mode="workers"), here, work, training)


@pytest.mark.parametrize("mode", ["workers", "cohort", "halves"])
@pytest.mark.parametrize(
    "scope", [RandomShare(0.4), WithLabels((0, 9)), PlantedRecords()], ids=lambda s: s.words
)
def test_clients_train_on_what_they_keep_and_leavers_on_what_goes(scope, mode):
    """An update is local training on these records alone, in every mode."""
    here = scenario([Request(frozenset({1}), 4, scope)], (), Backdoor(), (1,))

    def work(federation, clients):
        gone = federation.holdings.erased(1)[1]
        access = Access(frozenset({0, 1, 2}), Needs(remaining=True, leaver=True), frozenset({1}))
        asking = clients.scoped(replace(access, served=1, until=4))
        start = federation.initial
        updates = asking.train(start, [0, 1], round=9)
        alone = asking.leavers.train(start, [1], round=9)
        assert updates.examples.tolist() == [len(federation.train[0]), int((~gone).sum())]
        assert alone.examples.tolist() == [int(gone.sum())]
        rows = [(updates, 1, ~gone), (alone, 0, gone)]
        for sent, row, mask in rows:
            records = federation.train[1].take(mask)
            rng = generator(entropy(here.seed, Stream.CLIENT, 0, 9, 1))
            local, _ = train_locally(
                *(federation.network, start, records.inputs, records.labels),
                *(TRAINING.work, 9, rng),
            )
            torch.testing.assert_close(sent.deltas[row], local - start, atol=1e-6, rtol=1e-5)

    under(Local(workers=2, mode=mode), here, work)


def test_a_share_of_one_is_leaving_and_one_of_zero_is_nothing():
    leaving, last = followed([Request(frozenset({1}), 4)])
    whole, same = followed([Request(frozenset({1}), 4, RandomShare(1.0))])
    assert torch.equal(whole[0], leaving[0])
    assert torch.equal(same.history.final, last.history.final)
    assert same.present == frozenset({0, 2, 3})
    nothing, untouched = followed([Request(frozenset({1}), 4, RandomShare(0.0))])
    _, trained = followed([])
    assert torch.equal(untouched.history.final, trained.history.final)
    assert torch.equal(nothing[0], followed([Request(frozenset(), 4)])[0][0])


def test_who_joins_and_leaves_again_was_never_there():
    """Its rounds are replayed without it: as in a federation that it joins only after that."""
    models, _ = followed([Request(frozenset({1}), 4)], [Join(frozenset({1}), 2)])
    here = scenario((), [Join(frozenset({1}), 5)])

    def work(federation, clients):
        history = History(federation.network.layout, federation.initial, federation.initial)
        state = FederationState(history, frozenset()).with_members(federation.holdings.since(0))
        return finish(train(state, clients, 4, KEEP)).history.final

    assert torch.equal(models[0], under(Local(workers=2, mode="workers"), here, work))


@pytest.mark.parametrize("cohort", [1.0, 0.5])
def test_three_deletions_in_either_order_end_in_the_same_model(cohort):
    training = replace(TRAINING, cohort=cohort)
    rounds = (2, 4, 6)
    orders = [(1, 2, 3), (3, 1, 2)]
    ends = [
        followed(
            [Request(frozenset({c}), after) for c, after in zip(order, rounds, strict=True)],
            training=training,
        )[0][-1]
        for order in orders
    ]
    assert torch.equal(*ends)


def test_shares_of_three_clients_in_either_order_end_in_the_same_model():
    ends = [
        followed(
            [
                Request(frozenset({c}), after, RandomShare(0.3))
                for c, after in zip(order, (2, 4, 6), strict=True)
            ]
        )[0][-1]
        for order in ((1, 2, 3), (3, 1, 2))
    ]
    assert torch.equal(*ends)


def test_who_returns_with_the_same_records_trains_as_if_it_had_never_left():
    here = scenario([Request(frozenset({1}), 2)], [Join(frozenset({1}), 4)])
    never = scenario()

    def later(federation, clients):
        members = federation.holdings.since(1)
        start = torch.linspace(-1, 1, federation.network.layout.size)
        history = History(federation.network.layout, start, start)
        state = FederationState(history, frozenset(), round=4, request=1).with_members(members)
        return finish(train(state, clients, 6, KEEP)).history

    engine = Local(workers=2, mode="workers")
    returned, stayed = under(engine, here, later), under(engine, never, later)
    assert torch.equal(returned.final, stayed.final)
    assert [kept.clients for kept in returned] == [(0, 1, 2, 3)] * 2


def test_who_is_not_there_is_in_no_round_until_it_joins():
    _, state = followed([Request(frozenset({0}), 5)], [Join(frozenset({2}), 3)])
    cohorts = {kept.number: kept.clients for kept in state.history}
    assert cohorts == {
        **dict.fromkeys((1, 2, 3), (1, 3)),
        **dict.fromkeys((4, 5), (1, 2, 3)),
        6: (1, 2, 3),
    }


def test_unlearning_and_recovery_ask_nobody_who_joins_later():
    _, state = followed([Request(frozenset({0}), 4)], [Join(frozenset({2}), 4)], recovery=Plain(2))
    recovered = [kept.clients for kept in state.history if kept.number in (5, 6)]
    assert recovered[:2] == [(1, 3), (1, 3)]
    assert recovered[-1] == (1, 2, 3)


def test_what_a_client_sent_before_it_erased_a_part_is_gone_and_what_it_sends_since_stays():
    _, state = followed([Request(frozenset({1}), 4, RandomShare(0.5))], strategy=Nothing())
    cohorts = [(kept.number, kept.clients) for kept in state.history]
    assert cohorts == [(n, (0, 2, 3)) for n in range(1, 5)] + [(n, (0, 1, 2, 3)) for n in (5, 6)]


@pytest.mark.parametrize(
    ("requests", "joins", "sentence"),
    [
        ([Request(frozenset({1}), 3), Request(frozenset({1}), 4)], (), "they left"),
        ([Request(frozenset({9}), 3)], (), r"names \[9\]"),
        ([], [Join(frozenset({9}), 3)], r"names \[9\]"),
        ([], [Join(frozenset({1}), 6)], "a round must follow"),
        ([], [Join(frozenset({1}), -1)], "a round must follow"),
        (
            [Request(frozenset({1}), 3), Request(frozenset({1}), 4, WithLabels((1,)))],
            [Join(frozenset({1}), 2)],
            "they are not there",
        ),
        ([Request(frozenset({0, 1, 2, 3}), 3)], (), "nobody would remain"),
        ([Request(frozenset({1}), 7)], (), "lies outside training"),
    ],
)
def test_a_timeline_that_cannot_be_is_refused(requests, joins, sentence):
    with pytest.raises(Refused, match=sentence):
        plan(requests, 4, 6, joins)


def test_a_timeline_is_put_in_order_with_requests_before_joins():
    requests = [Request(frozenset({1}), 4), Request(frozenset({2}), 2, WithLabels((3,)))]
    ordered = changes(requests, [Join(frozenset({1}), 4, others=True), Join(frozenset({3}), 1)])
    assert [(c.after, c.clients, c.kind) for c in ordered] == [
        (1, (3,), "join"),
        (2, (2,), "erase"),
        (4, (1,), "erase"),
        (4, (1,), "join with others"),
    ]
    assert ordered[1].scope == WithLabels((3,))
    assert ordered[2].scope == Everything()
