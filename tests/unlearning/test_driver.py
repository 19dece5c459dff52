from dataclasses import dataclass, replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.local import LocalWork
from fedunlearn.unlearning import NoRecovery, Plain, Request, forget, plan, train
from strategies.fedaccum import FedAccum
from strategies.finetune import FineTune
from strategies.retrain import Retrain
from tests.support.world import World, finish

KEEP = Needs(updates=True, models=True)


def request(after, *clients):
    return Request(frozenset(clients), after)


class TestPlan:
    def test_orders_requests_in_time(self):
        first, second = request(3, 1), request(9, 0, 2)
        assert plan([second, first], clients=5, rounds=10) == (first, second)

    @pytest.mark.parametrize(
        ("requests", "sentence"),
        [
            ([request(11, 0)], "withdrawal.after=11 lies outside training: rounds are 1 to 10"),
            ([request(0, 0)], "withdrawal.after=0 lies outside"),
            ([request(5, 7)], r"names \[7\], but the federation has clients 0 to 4"),
            ([request(5, -1)], r"names \[-1\]"),
            ([request(2, 1), request(5, 1, 2)], r"Clients \[1\] cannot leave after round 5"),
            ([request(5, 0, 1, 2, 3, 4)], "After round 5 nobody would remain"),
            ([request(2, 0, 1, 2), request(4, 3, 4)], "After round 4 nobody would remain"),
        ],
    )
    def test_refuses_the_impossible_in_a_sentence(self, requests, sentence):
        with pytest.raises(Refused, match=sentence):
            plan(requests, clients=5, rounds=10)


def serve(world, clients, strategy, leavers, after, recovery=NoRecovery()):
    course = finish(train(world.start, clients, after, KEEP))
    return finish(forget(course, frozenset(leavers), strategy, recovery, clients, KEEP))


def test_moments_number_training_unlearning_and_recovery():
    world = World()
    with world.open() as clients:
        course = world.trained(clients)
        steps = list(forget(course, frozenset({1}), Retrain(), Plain(2), clients, KEEP))
        charged = {charge.moment for charge in clients.ledger.charges}
    moments = [(s.moment.phase, s.moment.request, s.moment.round) for s in steps]
    unlearning = [("unlearn", 1, number) for number in range(7)]
    assert moments == [*unlearning, ("recover", 1, 1), ("recover", 1, 2)]
    assert torch.equal(steps[0].weights, course.history.final)
    assert charged >= {step.moment for step in steps[1:]}


def test_a_withdrawal_during_training_and_training_goes_on_without_the_leaver():
    world = World()
    with world.open() as clients:
        course = serve(world, clients, Retrain(), [1], after=4)
        course = finish(train(course, clients, 6, KEEP))
    torch.testing.assert_close(course.history.final, world.formula([0, 2, 3], 6))
    assert course.present == {0, 2, 3}
    assert course.round == 6


def test_what_a_leaver_sent_is_purged_and_later_rounds_are_recorded():
    world = World()
    with world.open() as clients:
        course = serve(world, clients, Retrain(), [1], after=4, recovery=Plain(1))
        course = finish(train(course, clients, 6, KEEP))
    history = course.history
    assert [kept.number for kept in history] == [1, 2, 3, 4, 5, 5, 6]  # 4, one of recovery, 2
    assert all(1 not in kept.updates.clients for kept in history)
    rows = 7 * 3 + 7  # three updates and one broadcast a round
    assert history.nbytes == (rows + 1) * history.initial.nbytes


def test_requests_in_sequence_equal_one_for_both_where_the_method_is_exact():
    world = World()
    with world.open() as clients:
        once = serve(world, clients, Retrain(), [1, 2], after=6)
        first = serve(world, clients, Retrain(), [1], after=3)
        first = finish(train(first, clients, 6, KEEP))
        steps = forget(first, frozenset({2}), Retrain(), NoRecovery(), clients, KEEP)
        twice = finish(steps)
    assert torch.equal(once.history.final, twice.history.final)
    assert twice.request == 2


def test_what_a_rollback_trained_again_takes_the_place_of_what_was_stored():
    world = World()
    with world.open() as clients:
        course = serve(world, clients, Retrain(), [1], after=4)
        remaining = clients.scoped(clients.access.without({1}))
        alone = finish(train(replace(world.start, present=remaining.ids), remaining, 4, KEEP))
    assert [kept.number for kept in course.history] == [1, 2, 3, 4]
    for redone, wanted in zip(course.history, alone.history, strict=True):
        assert torch.equal(redone.before, wanted.before)
        assert torch.equal(redone.updates.deltas, wanted.updates.deltas)
        assert redone.cohort_examples == wanted.cohort_examples


def test_rounds_of_a_strategy_that_declares_no_rollback_replace_nothing():
    world = World()
    with world.open() as clients:
        stored = finish(train(world.start, clients, 4, KEEP)).history.without({1})
        course = serve(world, clients, FineTune(3), [1], after=4)
    assert same(course.history, stored)


def test_a_strategy_that_did_not_declare_it_may_not_ask_those_who_remain():
    class Sly(FineTune):
        needs = Needs()

    world = World()
    with world.open() as clients, pytest.raises(PermissionError, match="remaining=True"):
        serve(world, clients, Sly(3), [1], after=4)


def test_recovery_is_ordinary_training():
    world = World()
    with world.open() as clients:
        bare = serve(world, clients, FedAccum(), [0], after=6)
        recovered = serve(world, clients, FedAccum(), [0], after=6, recovery=Plain(3))
        expected = world.formula([1, 2, 3], 3, weights=bare.history.final)
    torch.testing.assert_close(recovered.history.final, expected)


@dataclass(frozen=True)
class Witness:
    """A recovery that notes whom it is handed and changes nothing."""

    seen: list
    rounds: int = 1

    def recover(self, weights, original, after, clients):
        self.seen.append(clients)
        yield from Plain(2).recover(weights, original, after, clients)


def test_recovery_draws_its_own_random_numbers_and_may_not_ask_the_leaver(monkeypatch):
    world, seen = World(), []
    with world.open() as clients:
        course = serve(world, clients, FedAccum(), [0], after=2, recovery=Witness(seen))
        steps = forget(course, frozenset({2}), FedAccum(), Witness(seen), clients, KEEP)
        finish(steps)
    assert [asked.access.stream for asked in seen] == [1, 2]
    assert [asked.ids for asked in seen] == [{1, 2, 3}, {1, 3}]
    with pytest.raises(PermissionError):
        seen[0].leavers  # noqa: B018


def test_recovery_goes_on_with_the_rounds_after_the_request():
    asked = []

    class Clients:
        work = LocalWork(epochs=4)

        def rounds(self, weights, first, last, work):
            asked.append((first, last, work))
            yield from ()

    list(Plain(3).recover(None, None, 7, Clients()))
    list(Plain(3, batches=6).recover(None, None, 7, Clients()))
    assert asked == [(8, 10, LocalWork(epochs=4)), (8, 10, LocalWork(epochs=4, batches=6))]


def test_the_history_without_clients_is_idempotent_and_commutes():
    world = World()
    with world.open() as clients:
        history = world.trained(clients).history
    a, b = frozenset({0}), frozenset({2, 3})
    assert same(history.without(a).without(a), history.without(a))
    assert same(history.without(a).without(b), history.without(b).without(a))
    assert same(history.without(a).without(b), history.without(a | b))
    assert same(history.without(frozenset()), history)
    assert len(history.without(a | b | {1})) == 0


def same(one, other):
    return len(one) == len(other) and all(
        x.updates.clients == y.updates.clients
        and torch.equal(x.updates.deltas, y.updates.deltas)
        and torch.equal(x.updates.examples, y.updates.examples)
        for x, y in zip(one, other, strict=True)
    )
