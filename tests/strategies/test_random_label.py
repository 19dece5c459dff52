"""Random labels and SalUn: who learns what, on which weights, and what stays to the bit."""

import torch

from fedunlearn.flower import Local
from fedunlearn.history import History, Needs
from fedunlearn.local import Gradient, LocalWork, RandomLabels, Sgd
from fedunlearn.unlearning import Access, Ledger, Request, Training
from strategies.random_label import RandomLabel
from tests.support.grid_clients import scenario_clients
from tests.support.small_federation import SMALL
from tests.support.unlearned import curve
from tests.support.world import HalfSquare, World

WORK = LocalWork(
    epochs=1, batch_size=1000, optimizer=Sgd(lr=0.1, momentum=0), objective=HalfSquare()
)


class TestLabels:
    images = torch.rand(5000, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    def test_are_uniform_and_know_nothing_of_the_true_one(self):
        drawn = RandomLabels().labels(self.images, 10)
        counts = torch.bincount(drawn, minlength=10)
        assert counts.min() > 400  # binomial: 500 +- 21
        assert counts.max() < 600

    def test_stay_in_any_batch_and_change_with_the_draw(self):
        objective = RandomLabels()
        drawn = objective.labels(self.images, 10)
        assert torch.equal(drawn[40:50], objective.labels(self.images[40:50], 10))
        assert (drawn != RandomLabels(1).labels(self.images, 10)).float().mean() > 0.8

    def test_tokens_have_labels_as_well(self):
        tokens = torch.randint(90, (2000, 12), generator=torch.Generator().manual_seed(1))
        assert torch.bincount(RandomLabels().labels(tokens, 5), minlength=5).min() > 300


def test_a_round_is_the_mean_over_both_groups_by_records():
    world = World()
    (found,), history = curve(RandomLabel(rounds=1, work=WORK), [1], world)
    before = history.final.double()
    target = world.here.train[1].inputs[0].flatten()
    wrong = 0.1 * (target - before)
    right = world.formula([0, 2, 3], 1, history.final) - before
    sizes = [len(world.here.train[i]) for i in range(4)]
    share = sizes[1] / sum(sizes)
    expected = before + share * wrong + (1 - share) * right
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


def test_salun_moves_the_share_on_which_the_leavers_pull_most_and_nothing_else():
    found = {}

    def job(connection):
        ledger = Ledger()
        clients = scenario_clients(connection, Training(), SMALL, ledger)
        network = clients.channel.proxy.network
        history = History(network.layout, network.initial(0), network.initial(1))
        strategy = RandomLabel(share=0.2, rounds=2)
        access = Access(frozenset({0, 2, 3}), strategy.needs, frozenset({1}))
        asking = clients.scoped(access)
        models = list(strategy.unlearn(Request(frozenset({1}), 3), history, asking))
        pull = asking.leavers.query(history.final, Gradient(), [1], round=4)[1]["gradient"].abs()
        found.update(history=history, models=models, pull=pull, charges=list(ledger))

    Local(workers=1).run(SMALL, job)
    before, pull = found["history"].final, found["pull"]
    moved = found["models"][-1] != before
    d = len(before)
    may = d - round(0.8 * d)
    assert 0.5 * may < int(moved.sum()) <= may
    assert pull[moved].min() >= pull.sort(descending=True).values[may - 1]
    rounds = [charge for charge in found["charges"] if charge.bytes_up == 4 * may]
    assert len(rounds) == 8  # four clients, two rounds
    assert all(charge.bytes_down == before.nbytes + -(-d // 8) for charge in rounds)


def test_what_is_declared():
    assert RandomLabel().needs == Needs(remaining=True, leaver=True)
    assert RandomLabel(share=0.5).needs == Needs(remaining=True, leaver=True, masks=True)
