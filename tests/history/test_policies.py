"""Which rounds and whose updates are kept: against brute force, and in whole runs."""

import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.experiment import run
from fedunlearn.experiment.compatible import leaves_out
from fedunlearn.experiment.estimate import estimate
from fedunlearn.history import (
    AsNeeded,
    Drift,
    Every,
    Float32,
    History,
    InMemory,
    Largest,
    Needs,
    OnDisk,
    Recorder,
    Round,
    Updates,
    Window,
    count_recorded,
    largest,
    open_rounds,
    selected_rounds,
)
from fedunlearn.history import selected_updates as narrowed
from fedunlearn.history.selection import contributions, cosines, part
from fedunlearn.unlearning import NoRecovery as NoRecovery
from fedunlearn.unlearning import Training, forget, train
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from tests.support.waves import PACE, WAVES
from tests.support.world import WORK, World, finish

ALL = Needs(updates=True, models=True)
LAYOUT = World().here.network.layout  # two tensors, of 2 and 4 numbers
D = LAYOUT.size
POLICIES = [AsNeeded(), Every(2), Drift(3, 0.7, 0.5), Largest(0.5)]


def a_round(number, lengths, examples=None, towards=None):
    """A round in which client i sends an update of ``lengths[i]``."""
    drawn = torch.Generator().manual_seed(number)
    deltas = torch.randn(len(lengths), D, generator=drawn) if towards is None else towards.clone()
    deltas *= torch.tensor(lengths)[:, None] / deltas.norm(dim=1, keepdim=True)
    examples = torch.tensor(examples or [10] * len(lengths))
    clients = tuple(range(3, 3 + len(lengths)))
    broadcast = torch.randn(D, generator=drawn)
    return Round(number, Updates(clients, deltas, examples), int(examples.sum()), broadcast)


def a_step(number, length):
    """A round that moves the model by ``length``."""
    return a_round(number, [float(length)] * 2, towards=torch.ones(2, D))


def recorded(policy, rounds, needs=ALL, record=None):
    history = History(LAYOUT, torch.zeros(D), torch.zeros(D), policy=policy)
    history = replace(history, record=record) if record else history
    for done in rounds:
        history = history.then(done, torch.full((D,), float(done.number)), needs)
    return history


def numbers(rounds):
    return [kept.number for kept in rounds]


class TestSelection:
    @pytest.mark.parametrize(("length", "most"), [(1, 1), (4, 1), (5, 3), (5, 5), (7, 2)])
    def test_a_window_keeps_what_sorting_it_afterwards_keeps(self, length, most):
        drawn = np.random.default_rng(1).integers(0, 6, 40)  # with ties
        window, kept = Window(), []
        for place, score in enumerate(drawn):
            window, leaving = window.then(float(score), length, most)
            kept.append(place)
            if leaving is not None:
                del kept[leaving]
            assert [drawn[p] for p in kept[len(kept) - len(window.scores) :]] == [*window.scores]
        expected = []
        for start in range(0, len(drawn), length):
            places = range(start, min(start + length, len(drawn)))
            expected += sorted(sorted(places, key=lambda p: (-drawn[p], p))[:most])
        assert kept == expected

    def test_shares_are_rounded_down_as_they_are_written(self):
        assert [part(0.29, 100), part(0.7, 10), part(0.6, 5), part(1.0, 7)] == [29, 7, 3, 7]
        assert [part(0.1, 3), part(0.5, 1), part(0.5, 0)] == [1, 1, 0]

    def test_the_largest_of_equals_are_the_first(self):
        assert largest(torch.tensor([1.0, 3.0, 2.0, 3.0, 2.0]), 3) == [1, 2, 3]
        assert largest(torch.zeros(4), 2) == [0, 1]

    @pytest.mark.parametrize("block", [1, 7, 2**22])
    def test_cosines_are_the_mean_over_tensors(self, block, monkeypatch):
        monkeypatch.setattr("fedunlearn.history.selection.BLOCK", block)
        done = a_round(1, [1.0, 2.0, 0.5])
        found = cosines(done.before, done.updates.deltas, LAYOUT.tensors)
        models = done.before + done.updates.deltas
        for row, model in enumerate(models):
            parts = [
                torch.nn.functional.cosine_similarity(model[t], done.before[t], dim=0)
                for t in LAYOUT.tensors
            ]
            assert float(found[row]) == pytest.approx(float(sum(parts)) / 2, abs=1e-6)
        assert len(LAYOUT.tensors) == 2

    def test_a_tensor_of_zeros_points_nowhere(self):
        sent = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
        found = cosines(sent, torch.zeros(2, D), LAYOUT.tensors)
        assert found.tolist() == pytest.approx([0.5, 0.5])

    def test_contributions_weigh_by_records_and_leave_buffers_out(self):
        deltas = torch.tensor([[3.0, 4.0, 100.0], [0.0, 1.0, 0.0]])
        found = contributions(deltas, torch.tensor([2, 30]), slice(0, 2))
        assert found.tolist() == [10, 30]


class TestRounds:
    def test_every_nth_of_those_asked_for(self):
        rounds = [a_round(number, [1.0]) for number in range(1, 14)]
        assert numbers(recorded(Every(3), rounds)) == [1, 4, 7, 10, 13]
        needs = replace(ALL, every=2)
        history = recorded(Every(3), rounds, needs)
        assert numbers(history) == [1, 7, 13]
        assert numbers(recorded(Every(2), rounds, needs)) == [1, 3, 5, 7, 9, 11, 13]
        assert numbers(recorded(Every(3), rounds[:12], needs).select(needs, 12)) == [1, 7]
        assert numbers(history.select(needs, 13)) == [1, 7]  # the block of 13 is not complete

    def test_a_comparison_shows_each_strategy_what_it_sees_alone(self):
        rounds = [a_round(n, [float(1 + n * 7 % 5)] * 4) for n in range(1, 25)]
        for policy in POLICIES:
            for every in (1, 2, 3):
                needs = replace(ALL, every=every)
                alone, together = (recorded(policy, rounds, n) for n in (needs, ALL))
                shown = [numbers(history.select(needs, 24)) for history in (alone, together)]
                assert shown[0] == shown[1]
                assert shown[0]

    def test_drift_keeps_the_longest_steps_of_each_window(self):
        lengths = [5.0, 1.0, 4.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 1.0]
        rounds = [a_step(number, length) for number, length in enumerate(lengths, start=1)]
        history = recorded(Drift(5, 0.6, 1.0), rounds)
        assert numbers(history) == [1, 3, 5, 8, 9, 10, 11, 12]
        assert count_recorded(Drift(5, 0.6, 1.0), ALL, range(1, 13)) == len(history)

    def test_drift_is_the_length_of_the_average_not_of_the_updates(self):
        opposed = torch.stack([torch.ones(D), -torch.ones(D)])
        rounds = [a_round(1, [9.0, 9.0], towards=opposed), a_round(2, [1.0, 1.0])]
        assert numbers(recorded(Drift(2, 0.5, 1.0), rounds)) == [2]
        heavy = [a_round(1, [9.0, 9.0], [10, 90], towards=opposed), rounds[1]]
        assert numbers(recorded(Drift(2, 0.5, 1.0), heavy)) == [1]

    def test_the_interval_of_a_strategy_has_no_say_in_drift(self):
        rounds = [a_step(n, n) for n in range(1, 11)]
        needs = replace(ALL, every=4)
        history = recorded(Drift(5, 0.6, 1.0), rounds, needs)
        assert numbers(history) == [3, 4, 5, 8, 9, 10]
        assert numbers(history.select(needs, 10)) == [3, 4, 5, 8, 9, 10]

    @pytest.mark.parametrize("policy", POLICIES)
    @pytest.mark.parametrize("needs", [ALL, Needs(updates=True, every=2), Needs(models=True)])
    def test_as_many_as_foretold(self, policy, needs):
        for count in (1, 5, 12, 13):
            rounds = [a_round(n, [float(1 + n * 7 % 5)] * 4) for n in range(1, count + 1)]
            history = recorded(policy, rounds, needs)
            assert len(history) == count_recorded(policy, needs, range(1, count + 1))
            kept = policy.updates(4) if needs.updates else 4
            assert {len(stored.clients) for stored in history} == {kept}

    def test_redone_rounds_open_a_new_window(self):
        rounds = [a_step(n, 10 - n) for n in range(1, 6)]
        policy = Drift(3, 0.67, 1.0)
        history = recorded(policy, rounds)
        assert numbers(history) == [1, 2, 4, 5]  # of 1, 2, 3 the longer two
        for number in (2, 3, 4, 5):
            again = a_step(number, number)
            history = history.redone(again, torch.zeros(D), ALL)
        assert numbers(history) == [1, 3, 4, 5]  # of 2, 3, 4 the longer two; 5 is next

    def test_a_window_goes_on_after_rounds_fell_away(self):
        """Who leaves takes a round along; the window then has room for another."""
        policy = Drift(4, 0.5, 1.0)
        alone = a_round(1, [9.0])
        rounds = [replace(alone, updates=replace(alone.updates, clients=(7,)))]
        rounds += [a_step(n, n) for n in range(2, 5)]
        history = recorded(policy, rounds[:2])
        left = history.without({7})
        assert numbers(left) == [2]
        for done in rounds[2:]:
            left = left.then(done, torch.zeros(D), ALL)
        assert numbers(left) == [3, 4]
        assert numbers(history.select(ALL, 2).without({7})) == [2]
        assert numbers(recorded(policy, rounds[:1]).select(ALL, 1).without({7})) == []


class TestUpdates:
    def test_the_best_aligned_stay(self):
        done = a_round(1, [1.0] * 5)
        kept = recorded(Drift(1, 1.0, 0.6), [done])[0]
        scores = cosines(done.before, done.updates.deltas, LAYOUT.tensors)
        best = sorted(scores.argsort(descending=True)[:3].tolist())
        assert kept.clients == tuple(3 + row for row in best)
        assert torch.equal(kept.updates.deltas, done.updates.deltas[best])
        assert kept.cohort_examples == done.cohort_examples

    def test_the_largest_stay_and_records_count(self):
        done = a_round(1, [1.0, 2.0, 3.0, 4.0], [100, 1, 10, 1])
        assert recorded(Largest(0.5), [done])[0].clients == (3, 5)

    def test_where_no_updates_are_stored_everybody_is_still_named(self):
        done = a_round(1, [1.0, 2.0, 3.0, 4.0])
        assert len(recorded(Largest(0.5), [done], Needs(models=True))[0].clients) == 4

    def test_the_share_of_a_leaver_does_not_grow_when_others_are_left_out(self):
        done = a_round(1, [1.0, 2.0, 3.0, 4.0])
        kept = recorded(Largest(0.5), [done])[0]
        assert torch.equal(kept.share({6}), done.share({6}))
        assert torch.equal(kept.share({3}), torch.zeros(D))

    def test_what_is_left_out_is_never_written(self, tmp_path):
        rounds = [a_round(n, [1.0 + n, 2.0, 3.0, 0.5]) for n in (1, 2, 3)]
        with Recorder(tmp_path, Float32()) as recorder:
            recorded(Largest(0.5), rounds, record=recorder.record)
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        for done, stored in zip(rounds, open_rounds(tmp_path), strict=True):
            for row, client in enumerate(done.clients):
                found = done.updates.deltas[row].numpy().tobytes() in content
                assert found == (client in stored.clients)
            assert len(stored.clients) == 2

    @pytest.mark.parametrize("on_disk", [False, True])
    def test_choosing_later_is_choosing_at_once(self, tmp_path, on_disk):
        rounds = [a_round(n, [float(1 + n * 7 % 5), 2.0, 3.0]) for n in range(1, 13)]
        policy = Drift(5, 0.6, 0.67)
        at_once = recorded(policy, rounds)
        with Recorder(tmp_path, Float32()) as recorder:
            later = recorded(AsNeeded(), rounds, record=recorder.record if on_disk else None)
            shown = [narrowed(later, policy, r) for r in selected_rounds(later, policy).rounds]
            assert numbers(shown) == numbers(at_once)
            for one, other in zip(shown, at_once, strict=True):
                assert one.clients == other.clients
                assert torch.equal(one.updates.deltas, other.updates.deltas)
        assert selected_rounds(at_once, policy).rounds is at_once.rounds
        assert narrowed(at_once, policy, at_once[0]) is at_once[0]


class TestRefusals:
    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: Every(0), r"Every.rounds must be a whole number"),
            (lambda: Drift(window=0), r"Drift.window must be"),
            (lambda: Drift(rounds=0), r"Drift.rounds must be a number above 0"),
            (lambda: Drift(clients=1.5), r"Drift.clients must be .* at most 1"),
            (lambda: Largest(clients=0), r"Largest.clients must be"),
        ],
    )
    def test_values_outside_their_range(self, make, sentence):
        with pytest.raises(Refused, match=sentence):
            make()

    @pytest.mark.parametrize("policy", POLICIES)
    def test_a_strategy_that_cannot_do_without_is_refused(self, policy):
        class Whole(FedAccum):  # who asks who took part, as exact rollback does
            needs = Needs(models=True, complete=True)

        strategies = {"whole": Whole()}
        if policy == AsNeeded():
            assert replace(WAVES, policy=policy, strategies=strategies)
            return
        with pytest.raises(Refused, match=r"strategy=whole needs every round and every update"):
            replace(WAVES, policy=policy, strategies=strategies)

    @pytest.mark.parametrize("policy", [Every(1), Drift(4, 1.0, 1.0), Largest(1.0)])
    def test_a_policy_that_leaves_nothing_out_serves_all(self, policy):
        cohort = WAVES.training.cohort_size(WAVES.partition.clients)
        assert not leaves_out(policy, Needs(updates=True, models=True), cohort)

    def test_an_interval_beyond_the_request_is_refused(self):
        with pytest.raises(Refused, match=r"keeps one round in 8, but .* after round 3"):
            replace(WAVES, policy=Every(8))


SIZE = 4 * (64 * 8 + 8 + 8 * 10 + 10)


def carried_out(experiment, folder, seeds=(0,)):
    return run(experiment, seeds, folder, {}, Console(file=io.StringIO()))


@pytest.mark.slow
class TestWholeRuns:
    @pytest.mark.parametrize(
        ("policy", "nbytes"),
        [
            (AsNeeded(), 4 * 10 * 7 * (5 + 1)),
            (Every(2), 4 * 10 * 4 * (5 + 1)),
            (Drift(3, 0.7, 0.5), 4 * 10 * 5 * (2 + 1)),
            (Largest(0.5), 4 * 10 * 7 * (2 + 1)),
        ],
    )
    def test_what_decides_between_memory_and_disk_is_what_is_kept(self, policy, nbytes):
        assert replace(WAVES, policy=policy).stored_bytes(10) == nbytes

    @pytest.mark.parametrize("policy", POLICIES)
    def test_bytes_are_those_of_the_estimate_and_rounds_left_out_are_gone(self, policy, tmp_path):
        experiment = replace(WAVES, policy=policy, store=OnDisk())
        summary = carried_out(experiment, tmp_path)
        costs = estimate(experiment, (0,), PACE)
        shared, served = costs[costs.phase == "train"].iloc[0], costs[costs.phase == "unlearn"]
        kept = count_recorded(policy, ALL, range(1, 4))
        assert shared.store_bytes == SIZE + kept * (policy.updates(5) + 1) * SIZE
        first = [frame[frame.request == 1].set_index("strategy") for frame in (summary, served)]
        pd.testing.assert_series_equal(*(f.store_bytes for f in first), check_dtype=False)
        if policy.updates(5) == 5:  # else it depends on whether the leavers' are among those kept
            sent = [frame.drop("crab").bytes_up for frame in first]  # that looks at updates
            pd.testing.assert_series_equal(*sent, check_dtype=False)
        # Whose updates are left of the second request is not known: it is right on average.
        more = carried_out(experiment, tmp_path / "more", seeds=(1, 2))
        left = pd.concat([summary, more]).query("request == 2").groupby("seed").store_bytes.sum()
        assert left.mean() == pytest.approx(served[served.request == 2].store_bytes.sum(), rel=0.15)

        assert np.isfinite(summary.test_loss).all()
        stored = open_rounds(tmp_path / "history/seed0/training")
        assert len(stored) <= kept
        assert not any({1, 3} & set(one.clients) for one in stored)

    def test_a_store_on_disk_changes_no_number(self, tmp_path):
        for name, store in (("disk", OnDisk()), ("memory", InMemory())):
            experiment = replace(WAVES, policy=Drift(3, 0.7, 0.5), store=store)
            carried_out(experiment, tmp_path / name)
        found = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("disk", "memory")]
        assert found[0] == found[1]


class TestFedEraser:
    """Under each policy it replays what there is: fewer rounds, or fewer clients in them."""

    def replayed(self, policy, interval=1):
        world, strategy = World(training=Training(rounds=10, work=WORK)), FedEraser(interval)
        course, needs = world.start, strategy.needs
        course = replace(course, history=replace(course.history, policy=policy))
        with world.open() as clients:
            course = finish(train(course, clients, 10, needs))
            charges = len(clients.ledger.charges)
            steps = list(forget(course, frozenset({1}), strategy, NoRecovery(), clients, needs))
            asked = [charge.client for charge in clients.ledger.charges[charges:]]
        return course.history, [step.weights for step in steps[1:]], asked

    def test_as_needed(self):
        _, models, asked = self.replayed(AsNeeded())
        assert (len(models), len(asked)) == (10, 9 * 3)

    def test_every(self):
        history, models, asked = self.replayed(Every(3))
        assert numbers(history) == [1, 4, 7, 10]
        assert (len(models), len(asked)) == (3, 2 * 3)  # the block that 10 opens is not complete
        by_interval = self.replayed(AsNeeded(), interval=3)
        torch.testing.assert_close(models[-1], by_interval[1][-1])

    def test_drift(self):
        history, models, asked = self.replayed(Drift(5, 0.6, 1.0))
        assert numbers(history) == [1, 2, 3, 6, 7, 8]  # steps shrink as training converges
        assert (len(models), len(asked)) == (6, 5 * 3)

    def test_drift_of_some_clients_only(self):
        history, models, asked = self.replayed(Drift(5, 0.6, 0.5))
        there = [set(kept.clients) - {1} for kept in history]
        assert {len(kept.clients) for kept in history} == {2}
        assert sorted(asked) == sorted(client for who in there[1:] for client in who)
        assert len(models) == len(history) == 6

    def test_largest(self):
        history, models, asked = self.replayed(Largest(0.5))
        assert all(len(kept.clients) == 2 for kept in history)
        assert len(asked) == sum(len(set(kept.clients) - {1}) for kept in history[1:])
        assert math.isfinite(float(models[-1].sum()))
