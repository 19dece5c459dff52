"""The exact oracle: sums that add up and leave again, and the head that they determine."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.data import Backdoor, Digits, Dirichlet, Scenario, build_federation
from fedunlearn.experiment.estimate.dry_clients import DryServerData, dry_clients
from fedunlearn.flower import InProcessGrid, Local, Ray, build_client_app, handshake
from fedunlearn.flower.plain_channel import PlainChannel
from fedunlearn.history import History, Needs
from fedunlearn.local import LocalWork, ridge_sums
from fedunlearn.methods import ridge
from fedunlearn.models import Cnn, Head, Layout, LeNet5, Mlp, Network, ResNet18
from fedunlearn.unlearning import (
    Access,
    ClientFailed,
    FederationState,
    Ledger,
    Moment,
    NoRecovery,
    Plain,
    Request,
    ScopedClients,
    Training,
    forget,
    train,
)
from strategies.fedaccum import FedAccum
from strategies.finetune import FineTune
from strategies.retrain import Retrain
from strategies.ridge_head import RidgeHead
from tests.support.grid_clients import ridge_answers, scenario_clients, with_training
from tests.support.world import Scaled, World, finish

SCENARIO = Scenario(Digits(), Dirichlet(clients=5), Backdoor(), Mlp((16,)), (1, 3), seed=4)
TRAINING = Training(rounds=2, cohort=0.4, work=LocalWork(epochs=1))
FEATURES, CLASSES = 16, 10
STRATEGY = RidgeHead()


@dataclass
class Rig:
    """A federation of digits, and what a test did with it."""

    clients: ScopedClients
    course: FederationState

    @property
    def here(self):
        return build_federation(SCENARIO)

    def trained(self, needs=STRATEGY.needs, last=TRAINING.rounds):
        self.course = finish(train(self.course, self.clients, last, needs))
        return self

    def forgets(self, *leavers, strategy=STRATEGY, recovery=NoRecovery()):
        steps = forget(
            self.course, frozenset(leavers), strategy, recovery, self.clients, strategy.needs
        )
        self.course = finish(steps)
        return self.course.history.final


@pytest.fixture
def rig():
    here = build_federation(SCENARIO)
    grid = InProcessGrid(build_client_app(SCENARIO), 5, workers=2)
    clients = scenario_clients(handshake(grid, 5), TRAINING, SCENARIO)
    start = FederationState(History(here.network.layout, here.initial, here.initial), clients.ids)
    yield Rig(clients, start)
    grid.close()


def by_hand(ids, penalty=STRATEGY.penalty):
    """Solve the pooled regression of ``ids`` by least squares on hand-made features, [17, 10]."""
    here = build_federation(SCENARIO)
    first = here.network.layout.named(here.initial)
    records = [here.train[client] for client in ids]
    images = torch.cat([held.inputs for held in records]).flatten(1)
    hidden = torch.relu(images @ first["1.weight"].T + first["1.bias"]).double().numpy()
    inputs = np.hstack([hidden, np.ones((len(hidden), 1))])
    targets = np.eye(CLASSES)[torch.cat([held.labels for held in records]).numpy()]
    # |X V - Y|^2 + lambda |V|^2 as one least-squares problem
    rows = np.vstack([inputs, np.sqrt(penalty) * np.eye(FEATURES + 1)])
    padded = np.vstack([targets, np.zeros((FEATURES + 1, CLASSES))])
    return torch.from_numpy(np.linalg.lstsq(rows, padded, rcond=None)[0])


def head_of(weights):
    named = build_federation(SCENARIO).network.layout.named(weights)
    return torch.cat([named["3.weight"].T, named["3.bias"][None]]).double()


def distance(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


class TestExactness:
    @pytest.mark.parametrize("leavers", [{1}, {0, 3}, {1, 2, 3, 4}])
    def test_subtraction_is_the_closed_form_over_those_who_remain(self, rig, leavers):
        weights = rig.trained().forgets(*leavers)
        remaining = sorted(set(range(5)) - leavers)
        assert distance(head_of(weights), by_hand(remaining)) < 1e-6
        assert distance(head_of(weights), by_hand(range(5))) > 1e-3

    def test_it_is_so_in_float64_to_the_last_digits(self, rig):
        sums = rig.trained().course.history.statistics
        less = sum(sums.values()) - sums[1]
        solved = ridge.solve(less, 0.01)
        assert solved.dtype == torch.float64
        assert distance(solved, ridge.solve(sums[0] + sums[2] + sums[3] + sums[4], 0.01)) < 1e-9
        assert distance(solved, by_hand([0, 2, 3, 4])) < 1e-6

    def test_it_equals_a_federation_that_never_had_the_leaver(self, rig):
        weights = rig.trained().forgets(1)
        rig.course = replace(
            rig.course,
            history=replace(rig.course.history, statistics=None),
            present=frozenset({0, 2, 3, 4}),
            round=0,
        )
        alone = rig.trained().course.history
        assert set(alone.statistics) == {0, 2, 3, 4}
        request = Request(frozenset(), 2)
        (fresh,) = RidgeHead().unlearn(request, alone, rig.clients)
        assert distance(weights, fresh) < 1e-6

    def test_what_lies_below_the_head_is_the_first_model(self, rig):
        below = slice(0, Head.of(rig.here.network.layout).weight.start)
        assert not torch.equal(rig.trained().course.history.final[below], rig.here.initial[below])
        assert torch.equal(rig.forgets(1)[below], rig.here.initial[below])

    def test_two_requests_are_as_one(self, rig):
        start = rig.trained(last=1).course
        first = rig.forgets(3)
        assert distance(head_of(first), by_hand([0, 1, 2, 4])) < 1e-6
        rig.trained()  # ordinary rounds in between: they change neither backbone nor sums
        then = rig.forgets(1)
        rig.course = start
        together = rig.trained().forgets(1, 3)
        assert distance(then, together) < 1e-6
        assert distance(head_of(then), by_hand([0, 2, 4])) < 1e-6

    def test_a_leaver_whose_sums_never_came_changes_nothing(self, rig):
        rig.course = replace(rig.course, present=frozenset({0, 1, 2, 4}))
        rig.trained()
        request = Request(frozenset({3}), 2)
        (weights,) = STRATEGY.unlearn(request, rig.course.history, rig.clients)
        (original,) = STRATEGY.unlearn(Request(frozenset(), 2), rig.course.history, rig.clients)
        assert torch.equal(weights, original)

    def test_lambda_counts(self, rig):
        strategy = RidgeHead(penalty=50.0)
        weights = rig.trained(strategy.needs).forgets(1, strategy=strategy)
        assert distance(head_of(weights), by_hand([0, 2, 3, 4], penalty=50.0)) < 1e-6

    def test_it_classifies(self, rig):
        weights = rig.trained().forgets(1)
        test = rig.here.dataset.test
        right = rig.here.network(weights, test.inputs).argmax(1) == test.labels
        largest = test.labels.bincount().max() / len(test.labels)
        assert right.float().mean() > 4 * largest


class TestCosts:
    def test_everybody_is_asked_once_before_round_1_whoever_is_in_its_cohort(self, rig):
        rig.trained()
        asked, trained = rig.clients.ledger.charges[:5], rig.clients.ledger.charges[5:]
        assert [charge.client for charge in asked] == [0, 1, 2, 3, 4]
        size = (FEATURES + 1) * (FEATURES + 1 + CLASSES) * 8
        for charge in asked:
            assert charge.moment == Moment("train", 0, 1)
            assert charge.bytes_down == rig.here.initial.nbytes
            assert charge.bytes_up == size
            assert charge.samples == len(rig.here.train[charge.client])
        assert len(trained) == 2 * TRAINING.rounds
        assert rig.course.history.nbytes == rig.here.initial.nbytes + 5 * size

    def test_unlearning_asks_nobody(self, rig):
        rig.trained()
        charged = len(rig.clients.ledger.charges)
        rig.forgets(1)
        assert len(rig.clients.ledger.charges) == charged
        shut = rig.clients.scoped(Access(rig.clients.ids, STRATEGY.needs))
        with pytest.raises(PermissionError, match="remaining=True"):
            ridge_answers(shut, rig.here.initial)

    def test_training_on_asks_nobody_again(self, rig):
        rig.trained(last=1)
        charged = len(rig.clients.ledger.charges)
        rig.trained()
        assert len(rig.clients.ledger.charges) == charged + 2

    def test_nobody_is_asked_who_left_before(self, rig):
        rig.trained(Needs(), last=1).forgets(3, strategy=FineTune(rounds=1))
        rig.trained()
        assert set(rig.course.history.statistics) == {0, 1, 2, 4}
        assert distance(head_of(rig.forgets(1)), by_hand([0, 2, 4])) < 1e-6  # on the first model

    def test_the_leavers_sums_are_purged(self, rig):
        rig.trained().forgets(1, recovery=Plain(1))
        assert set(rig.course.history.statistics) == {0, 2, 3, 4}
        rig.forgets(0, strategy=Retrain())
        assert set(rig.course.history.statistics) == {2, 3, 4}

    def test_only_a_strategy_that_declared_them_is_shown_them(self, rig):
        history = rig.trained().course.history
        assert history.select(Needs(updates=True), 2).statistics is None
        assert history.select(FedAccum().needs, 2).nbytes < history.nbytes
        assert history.select(STRATEGY.needs, 2).statistics.keys() == set(range(5))
        assert Needs.union([Needs(), STRATEGY.needs]).statistics
        with pytest.raises(LookupError, match=r"declare Needs\(statistics=True\)"):
            next(STRATEGY.unlearn(Request(frozenset({1}), 2), history.select(Needs(), 2), None))

    def test_others_do_not_pay(self, rig):
        rig.trained(Needs(updates=True))
        assert len(rig.clients.ledger.charges) == 2 * TRAINING.rounds
        assert rig.course.history.statistics is None

    def test_the_dry_clients_charge_the_same(self, rig):
        ridge_answers(rig.clients, rig.here.initial)
        ledger = Ledger()
        unlabelled = replace(rig.clients.channel.proxy, ledger=ledger)
        here, idle = rig.here, DryServerData(unlabelled, lambda proxy, work: 0.0)
        dry = dry_clients(here.train, here.holdings, TRAINING, idle)
        sums = ridge_answers(dry, rig.here.initial)
        real = [replace(charge, seconds=0.0) for charge in rig.clients.ledger]
        assert list(ledger) == real
        history = replace(rig.course.history, statistics=sums)
        others = dry.scoped(Access(dry.ids - {1}))
        (weights,) = STRATEGY.unlearn(Request(frozenset({1}), 2), history, others)
        assert torch.isfinite(weights).all()


class TestFailures:
    def broken(self, monkeypatch, client):
        real, bad = ridge_sums.sums, build_federation(SCENARIO).train[client].inputs.data_ptr()

        def sums(network, weights, images, labels):
            if images.data_ptr() == bad:
                raise OSError("disk on fire")
            return real(network, weights, images, labels)

        monkeypatch.setattr(ridge_sums, "sums", sums)

    def test_a_client_that_cannot_answer_ends_the_run(self, rig, monkeypatch):
        self.broken(monkeypatch, 2)
        with pytest.raises(ClientFailed, match=r"Client 2 failed[\s\S]*disk on fire"):
            rig.trained()

    def test_where_that_is_tolerated_the_head_is_that_of_the_others(self, rig, monkeypatch):
        self.broken(monkeypatch, 2)
        rig.clients = with_training(rig.clients, tolerated_failures=1)
        weights = rig.trained().forgets(1)
        assert distance(head_of(weights), by_hand([0, 3, 4])) < 1e-6


class Backwards(nn.Module):
    """A net whose last layer is not the one registered last."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(16, 10)
        self.first = nn.Linear(64, 16)

    def forward(self, images):
        return self.out(self.first(images.flatten(1)))


class Cosine(nn.Module):
    """A layer with a weight and a bias like a linear one's, which is none."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(10, 64)), nn.Parameter(torch.rand(10))

    def forward(self, images):
        return nn.functional.normalize(images) @ self.weight.T + self.bias


REFUSED = {
    "convolution": nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()),
    "no bias": nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)),
    "something follows": nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh()),
    "a norm follows": nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LayerNorm(10)),
    "registered backwards": Backwards(),
    "a layer of another kind": nn.Sequential(nn.Flatten(), Cosine()),
}


class TestHeads:
    @pytest.mark.parametrize(
        ("build", "shape", "classes"),
        [
            (Mlp((16,)), (1, 8, 8), 10),
            (Mlp(()), (1, 8, 8), 4),
            (Cnn(), (1, 8, 8), 10),
            (LeNet5(), (1, 28, 28), 10),
            (ResNet18(), (3, 32, 32), 7),
            (lambda shape, classes: Scaled(), (1, 8, 8), 10),
        ],
        ids=["mlp", "linear", "cnn", "lenet5", "resnet18", "a buffer behind"],
    )
    def test_features_times_the_head_are_the_logits(self, build, shape, classes):
        network = Network(build, shape, classes)
        weights, images = network.initial(3), torch.rand(2, *shape)
        named, head = network.layout.named(weights), network.head
        features = network.features(weights, images)
        logits = features @ named[head.weight.name].T + named[head.bias.name]
        torch.testing.assert_close(logits, network(weights, images))
        assert head.sums == (features.shape[1] + 1, features.shape[1] + 1 + classes)

    def test_a_solution_becomes_the_head_and_nothing_else(self):
        network = Network(lambda shape, classes: Scaled(), (1, 8, 8), 10)
        weights, solution = network.initial(3), torch.rand(65, 10, dtype=torch.float64)
        before = weights.clone()
        named = network.layout.named(network.head.put(weights, solution))
        assert torch.equal(weights, before)
        assert torch.equal(named["layer.weight"], solution[:-1].T.float())
        assert torch.equal(named["layer.bias"], solution[-1].float())
        assert (named["scale"] == 2).all()

    @pytest.mark.parametrize("module", REFUSED.values(), ids=REFUSED)
    def test_a_net_without_a_linear_last_layer_is_refused(self, module):
        network = Network(lambda shape, classes: module, (1, 8, 8), 10)
        with pytest.raises(Refused, match=r"ridge head needs.*Choose another model or method\."):
            network.features(network.initial(0), torch.rand(2, 1, 8, 8))

    @pytest.mark.parametrize(
        "sizes",
        [{"only": (3,)}, {"a.weight": (10, 4), "b.bias": (10,)}],
        ids=["one", "of two layers"],
    )
    def test_last_parameters_that_are_no_pair_are_refused(self, sizes):
        named = {name: torch.zeros(size) for name, size in sizes.items()}
        with pytest.raises(Refused, match="ridge head needs"):
            Head.of(Layout.of_tensors(named))

    def test_it_is_refused_before_anybody_is_asked(self):
        world, ledger = World(), Ledger()
        with world.open(ledger) as clients, pytest.raises(Refused, match=r"second \(4,\)"):
            world.trained(clients, STRATEGY.needs)
        assert not list(ledger)

    def test_batches_add_up(self, monkeypatch):
        here = build_federation(SCENARIO)
        held = here.train[0]
        whole = ridge_sums.sums(here.network, here.initial, held.inputs, held.labels)
        monkeypatch.setattr(ridge_sums, "FORWARD_BATCH", 7)
        split = ridge_sums.sums(here.network, here.initial, held.inputs, held.labels)
        torch.testing.assert_close(split, whole, rtol=1e-6, atol=1e-6)  # features are float32
        assert whole[-1, FEATURES] == len(held)
        assert torch.equal(
            whole[-1, FEATURES + 1 :], torch.bincount(held.labels, minlength=10).double()
        )


class TestEngines:
    def gathered(self, engine):
        here, ledger, found = build_federation(SCENARIO), Ledger(), {}

        def job(connection):
            clients = scenario_clients(connection, TRAINING, SCENARIO, ledger)
            found.update(ridge_answers(clients, here.initial))

        engine.run(SCENARIO, job)
        return found, [(c.client, c.bytes_down, c.bytes_up, c.samples) for c in ledger]

    @pytest.mark.parametrize("engine", [Local(mode="cohort"), Local(workers=2, mode="workers")])
    def test_both_modes_gather_the_same(self, engine, rig):
        sums, charges = self.gathered(engine)
        wanted = ridge_answers(rig.clients, rig.here.initial)
        assert list(sums) == [0, 1, 2, 3, 4]
        for client, own in sums.items():
            torch.testing.assert_close(own, wanted[client], rtol=1e-6, atol=1e-6)
        assert [charge[2] for charge in charges] == [17 * 27 * 8] * 5

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")
    def test_ray_gathers_the_same(self):
        there, charges = self.gathered(Ray())
        here, same = self.gathered(Local(workers=1, mode="workers"))
        assert charges == same
        for client, own in there.items():
            torch.testing.assert_close(own, here[client], rtol=1e-6, atol=1e-6)


def test_a_plain_flower_app_is_refused():
    channel = PlainChannel(*[None] * 6)
    with pytest.raises(Refused, match="plain Flower app cannot be asked"):
        channel.query(None, None)


def test_a_penalty_that_is_not_positive_is_refused():
    with pytest.raises(Refused, match=r"RidgeHead\.penalty must be a number above 0"):
        RidgeHead(penalty=0)
