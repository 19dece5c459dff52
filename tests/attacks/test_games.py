"""Every attack on made-up models whose secrets are known, and on real ones that have none."""

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from fedunlearn.attacks import without
from fedunlearn.attacks.games import (
    LEAST,
    AttackedRecords,
    Confidences,
    ShadowAnswers,
    attack_results,
)
from fedunlearn.attacks.shadow_models import Pool, Setup, with_halves
from fedunlearn.attacks.training_bank import Member, train_bank
from fedunlearn.data import (
    Change,
    Digits,
    Dirichlet,
    Iid,
    NoPlanting,
    Records,
    Scenario,
    build_federation,
)
from fedunlearn.evaluators import confidence, detection
from fedunlearn.evaluators.likelihood import lira, u_lira
from fedunlearn.flower import Local
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.models import Mlp
from fedunlearn.unlearning import Training

HELD_OUT = {"loss", "entropy", "modified_entropy", "lira", "lira_offline", "rmia", "rmia_offline"}
RECORDS, POPULATION, CLASSES, CLIENTS = 90, 40, 4, 2


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@dataclass
class World:
    """Models that say random things: hard records, accidents of a model, and what they learnt."""

    seed: int
    learnt: float = 0.0
    """So much higher is the logit of the label where a model trained on the record."""
    seen: float = 0.0
    """So much higher is it for all records of a client where a model trained on any."""

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        self.labels = self.rng.integers(CLASSES, size=RECORDS + POPULATION)
        self.hard = 3 * self.rng.normal(size=(RECORDS + POPULATION, CLASSES))
        self.member = self.rng.permutation(RECORDS) < 2 * RECORDS // 3
        self.clients = np.arange(RECORDS) % CLIENTS

    def models(self, held, seen):
        """Logits [models, records and population, classes] of models that hold records."""
        count = len(held)
        own = np.arange(CLASSES) == self.labels[:, None]
        accident = 0.7 * self.rng.normal(size=(count, 1, 1))  # a model is surer of everything
        higher = np.zeros((count, RECORDS + POPULATION))
        higher[:, :RECORDS] = self.learnt * held + self.seen * seen
        noise = self.rng.normal(size=(count, RECORDS + POPULATION, CLASSES))
        return self.hard + noise + own * (accident + higher[..., None])

    @property
    def attacked(self):
        return AttackedRecords(
            self.labels[:RECORDS], self.member, self.clients, self.labels[RECORDS:]
        )

    def confidences(self, logits):
        phi = confidence(logits, self.labels)
        return Confidences(phi[:, :RECORDS], phi[:, RECORDS:])

    def shadows(self, count=8):
        first = self.rng.permuted(np.tile(np.arange(RECORDS) % 2 == 0, (count // 2, 1)), axis=1)
        held = np.stack([first, ~first], axis=1).reshape(count, RECORDS)
        nobody = np.zeros((count, RECORDS), bool)
        return ShadowAnswers(
            self.confidences(self.models(held, seen=True)),
            held,
            self.confidences(self.models(nobody, False)),
        )

    def found(self, target, known=None, unlearned=None):
        return {
            (f.attack, f.level, f.statistic): f
            for f in attack_results(
                target[:RECORDS],
                target[RECORDS:],
                self.attacked,
                known or self.shadows(),
                unlearned,
            )
        }

    def trained(self, count=1):
        return self.models(np.tile(self.member, (count, 1)), seen=True)

    def retrained(self, count=1):
        return self.models(np.zeros((count, RECORDS), bool), seen=False)


@pytest.mark.slow
def test_retrained_models_are_at_chance_under_every_attack():
    trials, inside, values = 80, Counter(), {}
    for seed in range(trials):
        world = World(seed, learnt=2.0, seen=1.0)
        target, *others = world.retrained(4)
        unlearned = world.confidences(np.stack(others)).records
        for key, found in world.found(target, unlearned=unlearned).items():
            if key[2] == "auc":
                inside[key[:2]] += found.estimate.low <= 0.5 <= found.estimate.high
                values.setdefault(key[:2], []).append(found.estimate.value)
    against = {("lira_retrained", "record"), ("u_lira", "record")}
    means = {("loss", "client"), ("lira_retrained", "client"), ("u_lira", "client")}
    assert inside.keys() == {(name, "record") for name in HELD_OUT} | against | means
    low, high = binom.interval(0.9999, trials, 0.95)
    for attack, count in inside.items():
        # Two clients of one model share its accidents, which an interval over clients cannot know.
        assert count >= (0.75 * trials if attack in means else low), attack
        assert count <= high, attack
        spread = np.std(values[attack]) / math.sqrt(trials)
        assert abs(np.mean(values[attack]) - 0.5) < 4 * spread, attack


@pytest.mark.parametrize(
    ("members", "others"), [(60, 30), pytest.param(250, 65, marks=pytest.mark.slow)]
)
def test_what_all_records_of_a_model_share_costs_an_interval_over_records_nothing(members, others):
    rng, trials, inside = np.random.default_rng(members), 400, Counter()
    for _ in range(trials):
        share, records = rng.normal(size=members + others), members + others
        said = rng.normal(size=records) + 2 * rng.normal() * share + rng.normal(size=records)
        for name, chance in (("auc", 0.5), ("advantage", 0.0)):
            found = getattr(detection, name)(said[:members], said[members:])
            inside[name] += found.low <= chance <= found.high
    low, high = binom.interval(0.9999, trials, 0.95)
    assert low <= min(inside.values()) <= max(inside.values()) <= high


def test_what_was_learnt_is_found_by_those_who_look_for_it():
    world = World(1, learnt=6.0)
    found = world.found(world.trained()[0], world.shadows(count=32))
    for attack in HELD_OUT:
        assert found[attack, "record", "auc"].estimate.value > 0.6, attack
    assert found["lira", "record", "auc"].estimate.low > 0.9
    assert found["lira", "record", "auc"].estimate.value > (
        found["loss", "record", "auc"].estimate.high
    )
    assert found["lira_retrained", "record", "auc"].estimate.low > 0.7
    assert found["lira_retrained", "client", "auc"].estimate.value == 1
    assert found["lira", "record", "tpr_at_0.01"].estimate.value > 0.3


def test_what_a_client_leaves_in_all_its_records_shows_against_retrained_models_only():
    world = World(2, seen=3.0)
    found = world.found(world.trained()[0], world.shadows(count=32))
    for attack in HELD_OUT:
        assert found[attack, "record", "auc"].estimate.low < 0.5, attack
    assert found["lira_retrained", "record", "auc"].estimate.low > 0.6
    assert found["loss", "client", "auc"].estimate.value == 1


def test_u_lira_sees_what_a_strategy_always_leaves():
    """Models that are unsure of what was to be forgotten give themselves away."""
    world = World(3, learnt=-4.0)
    target, *others = world.trained(6)
    known = world.shadows()
    found = world.found(target, known, world.confidences(np.stack(others)).records)
    assert found["u_lira", "record", "auc"].estimate.low > 0.7
    assert found["u_lira", "client", "auc"].estimate.value == 1
    assert found["loss", "client", "auc"].estimate.value == 0


def test_sizes_are_those_of_the_two_sides():
    world = World(4)
    found = world.found(world.retrained()[0], world.shadows(count=8))
    members = int(world.member.sum())
    sizes = {key: (f.members, f.others) for key, f in found.items()}
    assert sizes["loss", "record", "auc"] == (members, RECORDS - members)
    assert sizes["lira_retrained", "record", "auc"] == (members, 4 * members)
    assert sizes["lira_retrained", "client", "auc"] == (CLIENTS, 4 * CLIENTS)
    assert {key[2] for key in found if key[0] == "rmia"} == {
        *("auc", "advantage", "advantage_in_sample", "tpr_at_0.01", "tpr_at_0.001")
    }


def test_nothing_is_judged_by_what_it_was_fitted_on():
    """Models that fit may say anything without being judged by it, and the other way round."""
    world = World(5, learnt=2.0)
    target, known = world.retrained()[0], world.shadows(count=8)
    judged = known.without.records[4:]
    far = np.concatenate([known.without.records[:4], judged - 50])
    moved = world.found(target, replace(known, without=replace(known.without, records=far)))
    still = world.found(target, known)
    # The judged half alone decides, so that all of them below the target make it stand out …
    assert moved["loss", "client", "auc"].estimate.value == 1
    assert still["loss", "client", "auc"].estimate.value < 1
    # … and what LiRA makes of the target itself has not changed.
    assert moved["lira", "record", "auc"] == still["lira", "record", "auc"]


def test_u_lira_needs_two_other_models():
    world = World(6)
    target, *others = world.retrained(3)
    unlearned, known = world.confidences(np.stack(others)).records, world.shadows()
    with_two = world.found(target, known, unlearned)
    assert ("u_lira", "record", "auc") in with_two
    without_it = world.found(target, known, unlearned[:1])
    assert without_it == {key: f for key, f in with_two.items() if key[0] != "u_lira"}


def test_a_model_without_numbers_has_no_statistics():
    world = World(7)
    found = world.found(np.full((RECORDS + POPULATION, CLASSES), math.nan))
    assert len(found) > 40
    assert all(math.isnan(f.estimate.value) for f in found.values())


def test_too_few_shadow_models_are_an_error():
    world = World(8)
    with pytest.raises(ValueError, match=f"at least {LEAST} shadow models"):
        world.found(world.retrained()[0], world.shadows(count=LEAST - 2))


FAST = Training(rounds=8, work=LocalWork(epochs=3, optimizer=Sgd(0.05)))


@pytest.mark.slow
def test_retrained_models_of_digits_are_at_chance_under_every_attack():
    """Of ten federations that divide the data otherwise, each with a retrained model."""
    inside, values = Counter(), {}
    for seed in range(10):
        scenario = Scenario(
            Digits(),
            Dirichlet(5, 1.0),
            NoPlanting(),
            Mlp((32,)),
            (0, 1),
            seed,
            changes=(Change(FAST.rounds, (0, 1)),),
        )
        here, everybody = build_federation(scenario), frozenset(range(5))
        setup = Setup.at(here, 1, Local().trainer(scenario), FAST)
        held = setup.pools
        records = Records.joined([pool.candidates for pool in held])
        test = here.dataset.test

        def say(models, here=here, records=records, test=test):
            with torch.no_grad():
                said = [
                    [here.network(w, r.inputs).numpy() for r in (records, test)] for w in models
                ]
            return [np.stack(part) for part in zip(*said, strict=True)]

        def said(shadows, records=records, test=test, say=say):
            asked, population = say(torch.cat(list(shadows.trained())))
            return Confidences(
                confidence(asked, records.labels), confidence(population, test.labels)
            )

        halves = with_halves(setup, FAST.rounds, count=8)
        known = ShadowAnswers(said(halves), halves.held, said(without(setup, FAST.rounds, count=8)))
        retrained = [
            Member(here.network.initial(n), n, everybody - {0, 1}) for n in range(seed, seed + 3)
        ]
        logits, population = say(train_bank(retrained, setup.trainer, FAST, FAST.rounds))
        asked = AttackedRecords(
            records.labels.numpy(),
            torch.cat([pool.member for pool in held]).numpy(),
            np.concatenate([np.full(len(pool.candidates), pool.client) for pool in held]),
            test.labels.numpy(),
        )
        others = confidence(logits[1:], records.labels)
        for found in attack_results(logits[0], population[0], asked, known, others):
            if found.statistic == "auc":
                key, estimate = (found.attack, found.level), found.estimate
                inside[key] += estimate.low <= 0.5 <= estimate.high
                values.setdefault(key, []).append(estimate.value)
    assert len(inside) == len(HELD_OUT) + 5
    for key, count in inside.items():
        assert count >= 7, key  # of ten, 95 % each: fewer come once in 8,000 times
        if key[1] == "record":
            assert abs(np.mean(values[key]) - 0.5) < 0.06, key


@dataclass(frozen=True, slots=True)
class Flips(NoPlanting):
    """Gives a share of the records a wrong label."""

    share: float = 1 / 3

    def poison(self, records, order, rng):
        rows = torch.from_numpy(rng.permutation(len(records))[: round(self.share * len(records))])
        labels = records.labels.clone()
        labels[rows] = (labels[rows] + torch.from_numpy(rng.integers(1, 10, len(rows)))) % 10
        return Records(records.inputs, labels)


@pytest.mark.slow
def test_flipped_labels_are_found_in_the_trained_model_and_not_in_the_retrained_one():
    """Two games, pooled over three federations of three clients; sixteen shadow models each.

    Against held-out canaries: other records of the leaver whose labels were flipped the same way,
    but which it did not train on. Against retrained models: the same flipped records under models
    that never saw the leaver. Half of the flipped records are in each shadow model.
    """
    training = Training(rounds=30, work=LocalWork(epochs=5, optimizer=Sgd(0.1)))
    everybody, rest = frozenset(range(3)), frozenset({1, 2})
    sides = {(game, who): ([], []) for game in ("held out", "retrained") for who in (0, 1)}
    for seed in range(3):
        scenario = Scenario(Digits(), Iid(3), Flips(), Mlp((64,)), (0,), seed)
        here, trainer = build_federation(scenario), Local().trainer(scenario)
        own = build_federation(replace(scenario, planting=NoPlanting())).train[0]
        flipped = own.labels != here.train[0].labels
        canaries = Flips(1.0).poison(here.heldout[0], 0, np.random.default_rng(seed))
        asked = Records.joined([here.train[0].take(flipped), canaries])
        member = torch.arange(len(asked)) < int(flipped.sum())
        nothing = here.train[0].take(torch.zeros_like(flipped))
        pool = Pool(0, here.train[0].take(~flipped), asked, member, nothing)
        setup = Setup(here, [pool], everybody, trainer, training)
        first = here.network.initial(seed)
        targets = [Member(first, seed, everybody), Member(first, seed, rest)]

        def say(models, here=here, asked=asked):
            with torch.no_grad():
                said = [here.network(weights, asked.inputs).numpy() for weights in models]
            return confidence(np.stack(said), asked.labels)

        halves = with_halves(setup, training.rounds, count=16)
        inside = say(torch.cat(list(halves.trained())))
        out = say(torch.cat(list(without(setup, training.rounds, count=8).trained())))
        trained = say(train_bank(targets, trainer, training, training.rounds))
        mine = member.numpy()
        remembering = inside.T[halves.held.T].reshape(len(asked), -1).T
        for who, phi in enumerate(trained):
            score = lira(phi, inside, halves.held)
            sides["held out", who][0].append(score[mine])
            sides["held out", who][1].append(score[~mine])
            sides["retrained", who][0].append(u_lira(phi, remembering, out[:4])[mine])
            sides["retrained", who][1].append(
                u_lira(out[4:], remembering, out[:4])[:, mine].ravel()
            )
    found = {
        key: [of(*map(np.concatenate, pair)) for of in (one_percent, detection.auc)]
        for key, pair in sides.items()
    }
    assert len(np.concatenate(sides["held out", 0][1])) >= 200  # two false positives are allowed
    for game in ("held out", "retrained"):
        (rate, _), (by_chance, area) = found[game, 0], found[game, 1]
        assert rate.value >= 0.5, game
        assert rate.low > 0.4, game
        assert by_chance.low <= 0.02, game
        assert by_chance.value < 0.05, game
        assert abs(area.value - 0.5) < 0.08, game
    held_out = found["held out", 1][1]
    assert held_out.low <= 0.5 <= held_out.high


def one_percent(members, others):
    return detection.tpr_at(members, others, 0.01)
