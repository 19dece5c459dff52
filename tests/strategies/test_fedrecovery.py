"""FedRecovery against its equations, FedAccum, retraining, and what public code gets wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.history import History, Needs, Round, Updates
from fedunlearn.methods.gaussian_mechanism import analytic_delta
from fedunlearn.models import Layout
from fedunlearn.unlearning import NoRecovery, Request, Training, forget
from strategies.fedaccum import FedAccum
from strategies.fedrecovery import FedRecovery
from strategies.retrain import Retrain
from tests.support.unlearned import asked_of_clients, curve
from tests.support.world import WORK, Scaled, World, finish

ONES = FedRecovery(weighting="ones")
READINGS = ("paper", "rounds", "cumulative", "ones")
PARTLY = World(training=Training(rounds=8, cohort=0.5, work=WORK))


class Alone:
    """Stands for the clients; only the server's random numbers may be drawn."""

    def rng(self, round):
        return np.random.default_rng([1, round])


def made(*rounds, layout=None, start=None):
    """A history of FedAvg: each round maps clients to (records, update)."""
    model = start = torch.zeros(len(next(iter(rounds[0].values()))[1])) if start is None else start
    kept = []
    for number, sent in enumerate(rounds, start=1):
        updates = Updates(
            tuple(sorted(sent)),
            torch.stack([torch.as_tensor(sent[client][1]).float() for client in sorted(sent)]),
            torch.tensor([sent[client][0] for client in sorted(sent)]),
        )
        records = int(updates.examples.sum())
        kept.append(Round(number, updates, records))
        model = model + updates.examples.float() / records @ updates.deltas
    layout = layout or Layout.of_tensors({"w": start})
    return History(layout, start, model, tuple(kept))


def unlearned(strategy, history, leavers):
    (model,) = strategy.unlearn(Request(frozenset(leavers), len(history)), history, Alone())
    return model


class TestEquations:
    @pytest.mark.parametrize(
        ("weighting", "first", "second"),
        [
            ("paper", 10 / 14, 4 / 14),  # |U_1|^2 = 10 and |U_2|^2 = 4
            ("rounds", 2 * 10 / 14, 2 * 4 / 14),
            ("cumulative", 1, 4 / 10),
            ("ones", 1, 1),
        ],
    )
    def test_a_worked_example(self, weighting, first, second):
        """Two rounds of clients 0 and 1 with 1 and 3 records; client 0 leaves, p = 1/4."""
        history = made({0: (1, [4.0, 0]), 1: (3, [0, 4])}, {0: (1, [0.0, 8]), 1: (3, [0, 0])})
        assert history.final.tolist() == [1, 3 + 2]
        # U_1 = (1, 3), U_2 = (0, 2); r_1 = (1/3)(4 - 1, 0 - 3), r_2 = (1/3)(0, 8 - 2)
        strategy = FedRecovery(weighting=weighting)
        assert strategy.weights([10, 4]) == pytest.approx([first, second])
        assert unlearned(strategy, history, [0]).tolist() == pytest.approx(
            [1 - first, 5 + first - second * 2]
        )

    def test_the_paper_is_the_default_and_has_no_cap(self):
        assert FedRecovery() == FedRecovery(weighting="paper", max_weight=None)

    @given(st.lists(st.just(0.0) | st.floats(1e-6, 1e6), min_size=1, max_size=30))
    def test_the_paper_s_weights_sum_to_one_and_the_port_s_to_the_rounds(self, moved):
        paper = FedRecovery().weights(moved)
        assert sum(paper) == pytest.approx(1)
        assert all(0 <= weight <= 1 + 1e-12 for weight in paper)
        rounds = FedRecovery(weighting="rounds").weights(moved)
        assert rounds == pytest.approx([len(moved) * weight for weight in paper])
        cumulative = FedRecovery(weighting="cumulative").weights(moved)
        earlier = np.cumsum([0.0, *moved[:-1]])
        for weight, square, before in zip(cumulative, moved, earlier, strict=True):
            assert weight == (pytest.approx(square / before) if before else 1)

    def test_cumulative_weights_break_what_the_paper_s_proof_needs(self):
        """It needs weights of at most 1."""
        assert FedRecovery(weighting="cumulative").weights([1, 144]) == [1, 144]
        assert FedRecovery(weighting="cumulative", max_weight=1).weights([1, 144]) == [1, 1]

    @pytest.mark.parametrize("leavers", [[1], [0, 3], [0, 1, 2]])
    @pytest.mark.parametrize("world", [World(), PARTLY], ids=["all", "half"])
    @pytest.mark.parametrize("most", [None, 1.0, 0.3])
    @pytest.mark.parametrize("weighting", READINGS)
    def test_is_its_formula_with_the_mean_of_those_who_remain(
        self, world, leavers, weighting, most
    ):
        strategy = FedRecovery(weighting=weighting, max_weight=most)
        (model,), history = curve(strategy, leavers, world)
        moved = [
            float((kept.updates.examples.double() @ kept.updates.deltas.double()).square().sum())
            / float(kept.updates.examples.sum()) ** 2
            for kept in history
        ]
        expected, earlier = history.final.double(), 0.0
        for kept in history:
            who, deltas, records = (
                kept.updates.clients,
                kept.updates.deltas.double(),
                kept.updates.examples.double(),
            )
            stays = torch.tensor([float(client not in leavers) for client in who]).double()
            step = records @ deltas / records.sum()
            others = (records * stays) @ deltas / max(1, float(records @ stays))
            square = float(step @ step)
            weight = {
                "paper": square / sum(moved),
                "rounds": len(moved) * square / sum(moved),
                "cumulative": square / earlier if earlier else 1.0,
                "ones": 1.0,
            }[weighting]
            earlier += square
            expected = expected - min(weight, most or math.inf) * (step - others)
        torch.testing.assert_close(model, expected.float(), rtol=1e-5, atol=1e-5)

    def test_later_rounds_weigh_more_than_they_may_where_nothing_caps_them(self):
        history = made({0: (1, [1.0]), 1: (1, [0.0])}, {0: (1, [8.0]), 1: (1, [4.0])})
        # U = 1/2, 6; r = 1/2, 2; the second weight would be 144
        for most, first, second in ((None, 1, 144), (1.0, 1, 1), (0.5, 0.5, 0.5)):
            strategy = FedRecovery(weighting="cumulative", max_weight=most)
            found = unlearned(strategy, history, [0]).item()
            assert found == 6.5 - first * 0.5 - second * 2

    def test_rounds_that_moved_nothing_do_not_count(self):
        still = {0: (1, [0.0]), 1: (1, [0.0])}
        moving = {0: (1, [3.0]), 1: (1, [1.0])}
        for weighting in ("paper", "cumulative"):
            strategy = FedRecovery(weighting=weighting)
            assert unlearned(strategy, made(still, still, moving), [0]).item() == 1
            assert unlearned(strategy, made(still, still), [0]).item() == 0

    def test_rounds_share_alike_where_updates_cancelled_in_all_of_them(self):
        against = {0: (1, [2.0]), 1: (1, [-2.0])}
        for weighting, total in (("paper", 1), ("rounds", 3), ("cumulative", 3), ("ones", 3)):
            strategy = FedRecovery(weighting=weighting)
            found = unlearned(strategy, made(against, against, against), [0]).item()
            assert found == pytest.approx(-2 * total)


class TestIdentities:
    @pytest.mark.parametrize("leavers", [[1], [0, 3], [0, 1, 2]])
    @pytest.mark.parametrize("world", [World(), PARTLY], ids=["all", "half"])
    def test_equal_weights_and_no_noise_are_fedaccum(self, world, leavers):
        """Each removes from every step of FedAvg what is not the mean of those who remain.

        It holds for unequal records and for rounds without a leaver or with leavers only, as long
        as the model is the first one and all steps: plain averages, and no request before with
        noise or with other weights.
        """
        models, history = curve(ONES, leavers, world)
        accumulated, _ = curve(FedAccum(), leavers, world)
        torch.testing.assert_close(models[-1], accumulated[-1], rtol=1e-5, atol=1e-5)
        assert (models[-1] - history.final).norm() > 0.1

    @pytest.mark.parametrize("weighting", READINGS)
    def test_one_round_alone_is_retraining(self, weighting):
        """All began at a model that no leaver had touched; so a lone weight must be 1."""
        world = World(training=Training(rounds=1, work=WORK))
        models, _ = curve(FedRecovery(weighting=weighting), [1, 2], world)
        retrained, _ = curve(Retrain(), [1, 2], world)
        torch.testing.assert_close(models[-1], retrained[-1])

    @pytest.mark.parametrize("weighting", READINGS)
    def test_who_never_took_part_leaves_no_trace(self, weighting):
        strategy = FedRecovery(weighting=weighting)
        history = made({0: (1, [4.0]), 1: (3, [1.0])}, {1: (3, [2.0])})
        assert torch.equal(unlearned(strategy, history, [2]), history.final)
        assert torch.equal(unlearned(strategy, history, []), history.final)

    def test_two_requests_with_equal_weights_end_where_one_for_both_does(self):
        world = PARTLY
        with world.open() as clients:
            course = world.trained(clients)
            served = {}
            for order in ([{0, 1}], [{0}, {1}], [{1}, {0}]):
                at = course
                for leavers in order:
                    at = finish(
                        forget(at, leavers, ONES, NoRecovery(), clients, Needs(updates=True))
                    )
                served[str(order)] = at.history.final
        both, *others = served.values()
        for model in others:
            torch.testing.assert_close(model, both, rtol=1e-5, atol=1e-5)

    def test_a_second_request_weighs_by_those_who_were_left(self):
        """What the first leaver sent is purged: to the second it is as if it had not been there."""
        world = World()
        with world.open() as clients:
            course = world.trained(clients)
            needs = FedRecovery().needs
            once = finish(forget(course, {0}, FedRecovery(), NoRecovery(), clients, needs))
            assert all(0 not in kept.clients for kept in once.history)
            twice = finish(forget(once, {1}, FedRecovery(), NoRecovery(), clients, needs))
        rounds = [
            {
                client: (int(records), delta)
                for client, delta, records in zip(
                    kept.clients, kept.updates.deltas, kept.updates.examples, strict=True
                )
                if client != 0
            }
            for kept in course.history
        ]
        alone = made(*rounds, start=course.history.initial)
        change = unlearned(FedRecovery(), alone, [1]) - alone.final
        found = twice.history.final - once.history.final
        torch.testing.assert_close(found, change, rtol=1e-4, atol=1e-5)


class TestWhatPublicCodeGetsWrong:
    def test_the_others_contribution_stays(self):
        """The port subtracts sum_{k remains} D_k / (n (n - 1)), which is not 0 here."""
        agree = {client: (10, [10.0, -10.0]) for client in range(4)}
        history = made(agree, agree, agree)
        assert torch.equal(unlearned(FedRecovery(), history, [0]), history.final)

    def test_a_leaver_who_did_nothing_had_slowed_the_others(self):
        """Without it the step had been theirs: 4 rather than 3. Theirs is added, not subtracted."""
        history = made({0: (1, [0.0]), 1: (1, [4.0]), 2: (1, [4.0]), 3: (1, [4.0])})
        assert unlearned(FedRecovery(), history, [0]).item() == 4

    def test_nothing_stored_is_written_to(self):
        history = made({0: (1, [4.0]), 1: (3, [1.0])}, {0: (1, [2.0]), 1: (3, [5.0])})
        before = [tensor.clone() for tensor in tensors(history)]
        model = unlearned(FedRecovery(sigma=1.0), history, [0])
        assert not torch.equal(model, history.final)
        assert all(map(torch.equal, tensors(history), before))


def tensors(history):
    return [history.initial, history.final, *(kept.updates.deltas for kept in history)]


class TestNoise:
    layout = Layout.of(Scaled())
    history = made(
        {0: (1, torch.ones(layout.size)), 1: (3, torch.zeros(layout.size))},
        layout=layout,
        start=torch.zeros(layout.size),
    )

    def noise(self, strategy):
        plain = unlearned(replace(strategy, sigma=0.0, bound=None), self.history, [0])
        return unlearned(strategy, self.history, [0]) - plain

    def test_every_parameter_gets_it_and_no_buffer_changes(self):
        noise, parameters = self.noise(FedRecovery(sigma=2.0)), self.layout.parameters
        assert (noise[parameters] != 0).all()
        assert noise[parameters].std().item() == pytest.approx(2, rel=0.1)
        assert abs(noise[parameters].mean().item()) < 0.3
        changed = unlearned(FedRecovery(sigma=2.0), self.history, [0]) - self.history.final
        assert (changed[parameters.stop :] == 0).all()
        assert len(changed[parameters.stop :]) == 64

    def test_a_bound_asks_for_as_much_as_its_guarantee_needs(self):
        strategy = FedRecovery(bound=0.3, epsilon=2.0, delta=1e-3)
        assert analytic_delta(0.3, strategy.noise, 2.0) == pytest.approx(1e-3)
        unit, scaled = self.noise(FedRecovery(sigma=1.0)), self.noise(strategy)
        torch.testing.assert_close(scaled, strategy.noise * unit, rtol=1e-4, atol=1e-5)
        paper = replace(strategy, mechanism="renyi")
        assert paper.noise > strategy.noise
        assert 0.3**2 / (2 * paper.noise**2) + 0.3 / paper.noise * math.sqrt(
            2 * math.log(1000)
        ) == pytest.approx(2)
        classical = FedRecovery(bound=0.3, epsilon=0.5, delta=1e-3, mechanism="classical")
        assert classical.noise == pytest.approx(0.6 * math.sqrt(2 * math.log(1250)))

    def test_without_a_bound_and_sigma_there_is_none(self):
        assert FedRecovery().noise == 0
        assert not self.noise(FedRecovery()).any()

    def test_other_leavers_and_other_seeds_get_other_noise(self):
        strategy, drawn = FedRecovery(sigma=1.0), []
        for seed, leavers in ((3, [1]), (3, [1]), (4, [1]), (3, [2])):
            (model,), _ = curve(strategy, leavers, World(seed=seed))
            (plain,), _ = curve(FedRecovery(), leavers, World(seed=seed))
            drawn.append(model - plain)
        torch.testing.assert_close(drawn[0], drawn[1])
        assert (drawn[0] - drawn[2]).abs().min() > 1e-3
        assert (drawn[0] - drawn[3]).abs().min() > 1e-3


def test_it_asks_nobody_and_announces_its_one_model():
    assert asked_of_clients(FedRecovery(sigma=0.1)) == 0
    assert FedRecovery().length(Request(frozenset({1}), 6)) == 1
    assert FedRecovery.guarantee == "none"


def test_a_round_in_which_all_failed_is_skipped():
    whole = made({0: (1, [4.0]), 1: (3, [1.0])}, {0: (1, [2.0]), 1: (3, [5.0])})
    nobody = Updates((), torch.empty(0, 1), torch.empty(0, dtype=torch.int64))
    holed = replace(whole, rounds=(whole[0], Round(2, nobody, 0), replace(whole[1], number=3)))
    assert unlearned(FedRecovery(), holed, [0]) == unlearned(FedRecovery(), whole, [0])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"weighting": "round"}, "FedRecovery.weighting=round does not exist; did you mean rounds"),
        ({"max_weight": 0}, "FedRecovery.max_weight must be a number above 0"),
        ({"sigma": -1}, "FedRecovery.sigma must be a number at least 0"),
        ({"bound": 0}, "FedRecovery.bound must be a number above 0"),
        ({"bound": 1, "epsilon": 0}, "FedRecovery.epsilon"),
        ({"bound": 1, "delta": 1}, "FedRecovery.delta"),
        ({"mechanism": "laplace"}, "FedRecovery.mechanism=laplace does not exist"),
        (
            {"mechanism": "classical", "epsilon": 1.5},
            "FedRecovery.epsilon must be a number above 0 and at most 1, not 1.5",
        ),
        ({"bound": 1, "sigma": 1}, "FedRecovery.bound and sigma both say how much noise"),
    ],
)
def test_wrong_values_are_refused(wrong, sentence):
    with pytest.raises(Refused, match=sentence):
        FedRecovery(**wrong)
