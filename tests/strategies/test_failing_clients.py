"""Where failures are tolerated, a step is that of those who answered; without any, none."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fedunlearn.history import Needs, Updates, fedavg_step
from fedunlearn.models import mean
from fedunlearn.simulations import docs_tables
from fedunlearn.unlearning import Request, Training
from strategies.destroy_repair import DestroyRepair
from strategies.mode import MoDe
from strategies.puf import Puf
from tests.support.world import WORK, Targets, World, break_client, without_leavers

LEAVERS = frozenset({1, 2})
ROUNDS = 6
NAMES = docs_tables.singles()
TOLERANT = Training(rounds=ROUNDS, tolerated_failures=5, work=WORK)

# These go on from the first model where nobody answers; all others from the one that was trained.
FROM_FIRST = {"retrain", "rapid_retrain", "fedrecover", "exact_rollback"}
NOBODY_WORKS = {
    "none",
    "fast_fedul",
    "fedaccum",
    "fedrecovery",
    "fedup",
    "ridge_head",
    "ssd",
    "weight_negation",
}

# What these make of failures has tests of its own, here or beside them.
OTHERWISE = {"mode", "puf", "ridge_head", "sifu"}
# Their work has batches of its own size, so that clients of other sizes take other steps.
OWN_BATCHES = {
    *(
        "amnesiacs",
        "bad_teacher",
        "fanchuan",
        "forget",
        "neggrad",
        "random_label",
        "salun",
        "scrub",
    ),
    *("sebastian", "sga", "sga_ewc", "sga_reflect", "ssd"),
}


@dataclass(frozen=True)
class Alike(Targets):
    """Clients whose records are all the same, so that their updates are."""

    def load(self):
        dataset = super().load()
        copies = dataset.train.take(torch.zeros(len(dataset.train), dtype=torch.int64))
        return replace(dataset, train=copies)


@dataclass(frozen=True)
class OneAfterAnother:
    sizes: tuple[int, ...]
    minimum: int = 1

    @property
    def clients(self):
        return len(self.sizes)

    def __call__(self, labels, rng):
        return tuple(np.split(np.arange(len(labels)), np.cumsum(self.sizes)[:-1]))


@dataclass(frozen=True)
class AlikeWorld(World):
    @property
    def scenario(self):
        partition = OneAfterAnother(self.sizes)
        return replace(super().scenario, dataset=Alike(self.sizes), partition=partition)


def models(strategy, world, lost=()):
    """Train with everybody, then serve the request while the ``lost`` fail whenever asked."""
    with world.open() as clients, pytest.MonkeyPatch.context() as monkeypatch:
        state = world.trained(clients, Needs(updates=True, models=True))
        for client in lost:
            break_client(monkeypatch, world, client)
        history = replace(state.history, statistics={})
        remaining = without_leavers(clients, LEAVERS, strategy.needs)
        path = list(strategy.unlearn(Request(LEAVERS, ROUNDS), history, remaining))
    return path, history


class TestTheRule:
    def updates(self, clients):
        rows = torch.randn(len(clients), 3, generator=torch.Generator().manual_seed(len(clients)))
        return Updates(tuple(clients), rows, torch.tensor([c + 1 for c in clients]).long())

    def test_weights_of_those_who_answered_add_up_to_one(self):
        sent = self.updates([0, 1, 4])
        step = fedavg_step(sent.without({1}))
        torch.testing.assert_close(step, (1 * sent.deltas[0] + 5 * sent.deltas[2]) / 6)

    def test_groups_count_as_if_all_had_been_asked_at_once(self):
        first, second = self.updates([0, 3]), self.updates([1, 2, 5])
        rows = torch.cat([first.deltas, second.deltas])
        expected = mean(rows, torch.cat([first.examples, second.examples]))
        torch.testing.assert_close(fedavg_step(first, second), expected)
        assert torch.equal(fedavg_step(first, Updates.none(3)), fedavg_step(first))

    def test_nobody_moves_nothing(self):
        assert torch.equal(fedavg_step(Updates.none(3), Updates.none(3)), torch.zeros(3))


def test_the_table_covers_every_strategy():
    asking = {name for name in NAMES if docs_tables.strategy(name).needs.remaining}
    asking |= {name for name in NAMES if docs_tables.strategy(name).needs.leaver}
    assert asking | NOBODY_WORKS | {"subtraction"} == set(NAMES)


@pytest.mark.parametrize("lost", [0, 1], ids=["who remains", "leaver"])
@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - {"mode", "puf", "ridge_head", "sifu"} - OWN_BATCHES)
)
def test_among_clients_who_are_all_alike_one_who_fails_changes_nothing(name, lost):
    """Every mean over those who answered is then the same: their weights make up for the other."""
    world = AlikeWorld(sizes=(10, 20, 30, 40, 25), training=TOLERANT)
    strategy = docs_tables.strategy(name)
    whole, history = models(strategy, world)
    fewer, _ = models(strategy, world, {lost})
    assert len(whole) == len(fewer)
    for one, other in zip(whole, fewer, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    if docs_tables.strategy(name).needs.remaining:
        assert not torch.allclose(whole[-1], history.initial)


@pytest.mark.parametrize(("lost", "others"), [(0, (3, 4)), (3, (0, 4))])
def test_a_round_of_mode_is_that_of_those_who_answered(lost, others):
    world = World(sizes=(10, 20, 30, 40, 25), training=TOLERANT)
    (found,), history = models(MoDe(rounds=1, epochs=3, ask_leaver=False), world, {lost})
    fresh = world.formula(others, 1)
    mixed = 0.95 * history.final + 0.05 * fresh
    torch.testing.assert_close(found, world.formula(others, 1, mixed), rtol=1e-4, atol=1e-5)


def test_the_step_of_puf_is_that_of_those_who_answered():
    world = World(sizes=(10, 20, 30, 40, 25), training=TOLERANT)
    (found,), history = models(Puf(eta=0.5, epochs=3), world, {0, 1})
    away = {ids: world.formula(ids, 1, history.final) - history.final for ids in [(2,), (3, 4)]}
    leaving, staying = (sum(len(world.here.train[i]) for i in ids) for ids in away)
    step = (staying * away[3, 4] - 0.5 * leaving * away[2,]) / (staying + leaving)
    torch.testing.assert_close(found, history.final + step, rtol=1e-4, atol=1e-5)
    (alone,), _ = models(Puf(eta=0.5, epochs=3), world, {1, 2})
    torch.testing.assert_close(alone, world.formula((0, 3, 4), 1, history.final))


@pytest.mark.parametrize("name", sorted(set(NAMES) - NOBODY_WORKS - {"subtraction"}))
def test_where_nobody_answers_the_model_stays(name):
    world = World(sizes=(10, 20, 30, 40, 25), training=TOLERANT)
    path, history = models(docs_tables.strategy(name), world, range(5))
    assert path
    if name == "mode":  # the server itself mixes: towards the first model, which stays what it is
        share = 0.95 ** len(path)
        expected = share * history.final + (1 - share) * history.initial
        torch.testing.assert_close(path[-1], expected, rtol=1e-4, atol=1e-5)
        return
    if isinstance(docs_tables.strategy(name), DestroyRepair):  # what is broken stays so
        cycle = len(path) // docs_tables.strategy(name).cycles
        for begin in range(0, len(path), cycle):
            assert all(torch.equal(w, path[begin]) for w in path[begin : begin + cycle])
        assert not torch.equal(path[0], history.final)
        return
    if name == "sun":  # its noise goes on; what is left at the end stays
        assert all(torch.equal(weights, path[-1]) for weights in path[-5:])
        assert not torch.equal(path[0], history.final)
        return
    if name == "crab":  # of the round gone back to, the stored updates are taken as they are
        path = path[1:]
    assert all(torch.equal(weights, path[0]) for weights in path)
    if name in FROM_FIRST:
        assert torch.equal(path[0], history.initial)
    elif name not in {"crab", "federaser", "pga", "sifu"}:  # these start elsewhere, from the store
        assert torch.equal(path[0], history.final)
