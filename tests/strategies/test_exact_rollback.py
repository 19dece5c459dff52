"""Exact rollback equals retraining bit for bit; the places where a path can be cut."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.history import History, Round, Updates
from fedunlearn.methods import cuts, restart
from fedunlearn.models import Layout
from fedunlearn.unlearning import FedAvgM, Ledger, NoRecovery, Request, Training, forget, train
from strategies.exact_rollback import ExactRollback
from strategies.retrain import Retrain
from tests.support.unlearned import curve
from tests.support.world import WORK, World, finish, without_leavers

SOME = World(sizes=(10, 20, 30, 40, 50, 60), training=Training(rounds=12, cohort=0.34, work=WORK))
NEEDS = ExactRollback().needs


def trained(world=SOME, last=None):
    with world.open() as clients:
        return finish(train(world.start, clients, last or world.training.rounds, NEEDS))


def first_round(course, *leavers):
    """Return the first round in which any of them took part."""
    return min(kept.number for kept in course.history if set(leavers) & set(kept.clients))


def late(course, least=3):
    """Return a client who came late but took part."""
    seen = {client for kept in course.history for client in kept.clients}
    return next(client for client in sorted(seen) if first_round(course, client) >= least)


def bare(numbers):
    """Return a history of rounds with these numbers; the model before the i-th is i everywhere."""
    nobody = Updates((), torch.empty(0, 0), torch.empty(0, dtype=torch.int64))
    rounds = (
        Round(number, nobody, 0, torch.full((2,), float(place)))
        for place, number in enumerate(numbers)
    )
    return History(Layout(()), torch.full((2,), -1.0), torch.full((2,), -2.0), tuple(rounds))


class TestCuts:
    @pytest.mark.parametrize(
        ("numbers", "last", "places"),
        [
            ([], 4, [0]),
            ([1, 2, 3], 3, [0, 1, 2, 3]),
            ([2, 5], 6, [0, 1, 2]),
            ([1, 2, 3, 3], 3, [0, 1, 2, 4]),  # recovery after round 2, then training round 3
            ([1, 2, 3, 4, 3, 4], 4, [0, 1, 2, 6]),
            ([1, 2, 3, 4, 3], 3, [0, 1, 2, 5]),
            ([1, 2, 3, 4], 2, [0, 1, 4]),  # 3 and 4 are recovery after the latest request
        ],
    )
    def test_nothing_before_a_cut_bears_a_number_of_what_comes_after(self, numbers, last, places):
        assert cuts(bare(numbers), last) == places

    def test_the_path_goes_on_from_the_model_and_the_number_of_the_round(self):
        history = bare([2, 3, 5])
        found = [restart(history, place, last=5) for place in range(4)]
        assert [(float(start.weights[0]), start.number) for start in found] == [
            (-1, 1),  # round 1 is not kept: it begins at the first model all the same
            (1, 3),
            (2, 5),
            (-2, 6),
        ]


class TestExactRollback:
    def test_equals_retraining_bit_for_bit_when_the_leaver_came_late(self):
        course = trained()
        leaver = late(course)
        models, _ = curve(ExactRollback(), [leaver], SOME, course)
        retrained, _ = curve(Retrain(), [leaver], SOME, course)
        assert len(models) == 12 - first_round(course, leaver) + 1 < 11
        assert all(
            torch.equal(one, other)
            for one, other in zip(models, retrained[-len(models) :], strict=True)
        )
        assert not torch.equal(models[-1], course.history.final)

    def test_several_leave_at_once_and_the_first_to_come_decides(self):
        course = trained()
        leaver = late(course)
        other = next(c for c in range(6) if first_round(course, c) < first_round(course, leaver))
        models, _ = curve(ExactRollback(), [leaver, other], SOME, course)
        retrained, _ = curve(Retrain(), [leaver, other], SOME, course)
        assert len(models) == 12 - first_round(course, other) + 1
        assert torch.equal(models[-1], retrained[-1])

    def test_with_full_participation_it_is_retraining(self):
        world = World()
        models, _ = curve(ExactRollback(), [1], world)
        retrained, _ = curve(Retrain(), [1], world)
        assert len(models) == len(retrained)
        assert torch.equal(models[-1], retrained[-1])

    def test_a_leaver_who_never_took_part_changes_nothing_and_nobody_is_asked(self):
        course = replace(SOME.start, present=frozenset(range(5)))
        with SOME.open() as clients:
            course = finish(train(course, clients, 12, NEEDS))
            course = replace(course, present=frozenset(range(6)))
            charged = len(clients.ledger.charges)
            leaver = frozenset({5})
            after = finish(forget(course, leaver, ExactRollback(), NoRecovery(), clients, NEEDS))
            assert len(clients.ledger.charges) == charged
        assert torch.equal(after.history.final, course.history.final)
        assert len(after.history) == len(course.history)

    def test_asks_only_for_the_rounds_that_are_run_again(self):
        course = trained()
        leaver, ledger = late(course), Ledger()
        with SOME.open() as clients:
            asked = replace(without_leavers(clients, [leaver], NEEDS), ledger=ledger)
            history = course.history.select(NEEDS, 12)
            request = Request(frozenset({leaver}), 12)
            list(ExactRollback().unlearn(request, history, asked))
        rounds = 12 - first_round(course, leaver) + 1
        assert len(ledger.charges) == rounds * SOME.training.cohort_size(6)

    def test_needs_no_updates(self):
        course = trained()
        assert all(kept.updates.deltas.shape[1] == 0 for kept in course.history)
        assert NEEDS.complete

    def test_requests_in_sequence_equal_retraining_without_both(self):
        """The second one begins on the path that the first one left behind."""
        strategy = ExactRollback()
        one = late(trained(last=7), least=2)
        with SOME.open() as clients:
            course = finish(train(SOME.start, clients, 7, NEEDS))
            course = finish(
                forget(course, frozenset({one}), strategy, NoRecovery(), clients, NEEDS)
            )
            course = finish(train(course, clients, 12, NEEDS))
            other = late(course)
            path = [kept.number for kept in course.history]
            twice = finish(
                forget(course, frozenset({other}), strategy, NoRecovery(), clients, NEEDS)
            )
        retrained, _ = curve(Retrain(), [one, other], SOME, trained())
        assert path == list(range(1, 13))
        assert torch.equal(twice.history.final, retrained[-1])
        assert all({one, other}.isdisjoint(kept.clients) for kept in twice.history)
        for kept, model in zip(twice.history[1:], retrained[:-1], strict=True):
            assert torch.equal(kept.before, model)

    @pytest.mark.parametrize(
        ("present", "began"),
        [
            ({2: [9]}, (2, 3)),  # recovery after an earlier request: training's round 3 goes, too
            ({3: [9]}, (2, 3)),  # and recovery where the leaver came in training's round 3
            ({4: [9]}, (4, 4)),
            ({0: [9], 4: [9]}, (-1, 1)),
        ],
    )
    def test_recovery_that_bears_the_numbers_of_later_rounds_is_run_again_with_them(
        self, present, began
    ):
        history = bare([1, 2, 3, 3, 4])
        rounds = tuple(
            replace(kept, updates=replace(kept.updates, clients=tuple(present.get(place, []))))
            for place, kept in enumerate(history)
        )
        asked = []

        class Asked:
            def rounds(self, weights, first, last):
                asked.append((float(weights[0]), first, last))
                yield from ()

        request = Request(frozenset({9}), 4)
        list(ExactRollback().unlearn(request, replace(history, rounds=rounds), Asked()))
        assert asked == [(*began, 4)]

    def test_a_server_that_carries_momentum_begins_afresh(self):
        world = replace(SOME, training=replace(SOME.training, server=FedAvgM(beta=0.5)))
        course = trained(world)
        leaver = late(course)
        models, history = curve(ExactRollback(), [leaver], world, course)
        retrained, _ = curve(Retrain(), [leaver], world, course)
        assert not torch.equal(models[-1], retrained[-1])
        first = first_round(course, leaver)
        with world.open() as clients:
            asked = without_leavers(clients, [leaver], NEEDS)
            again = list(asked.rounds(history[first - 1].before, first, 12))
        assert torch.equal(models[-1], again[-1][1])
