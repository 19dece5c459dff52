"""RUM: who and what belongs to which part, in which order, and what each part costs."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import Records, Shards
from fedunlearn.flower import Local
from fedunlearn.history import History, Needs
from fedunlearn.local import HardnessSum, LocalWork, Part, Ranked, Sgd
from fedunlearn.models import Mlp, Network
from fedunlearn.unlearning import Access, Ledger, Training
from strategies.federaser import FedEraser
from strategies.fedquit import FedQuit
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.rum import Rum
from strategies.subtraction import Subtraction
from tests.support.grid_clients import scenario_clients
from tests.support.small_federation import SMALL
from tests.support.unlearned import curve
from tests.support.world import World

WORK = LocalWork(epochs=1, optimizer=Sgd(lr=0.05))


@dataclass(frozen=True)
class Ask:
    """Let the leavers work once and add what they send; ``name`` tells who is who."""

    guarantee: ClassVar[str] = "none"
    lr: float = 0.1

    @property
    def needs(self):
        return Needs(leaver=True)

    def length(self, request):
        return 1

    def unlearn(self, request, history, clients):
        work = replace(clients.work, optimizer=Sgd(lr=self.lr, momentum=0))
        sent = clients.leavers.train(history.final, request.clients, work, round=request.after + 1)
        yield history.final + sent.deltas.sum(0)


class TestRanks:
    network = Network(Mlp((9,)), (1, 8, 8), 4)

    def records(self, n=11):
        torch.manual_seed(4)
        return Records(torch.rand(n, 1, 8, 8), torch.randint(4, (n,)))

    @pytest.mark.parametrize("n", [3, 4, 10, 11, 100])
    def test_parts_of_equal_shares_are_all_records_once(self, n):
        spans = [Ranked(first=i / 3, last=(i + 1) / 3).span(n) for i in range(3)]
        assert [rank for span in spans for rank in span] == list(range(n))

    @pytest.mark.parametrize("n", [1, 2])
    def test_no_part_is_empty(self, n):
        assert all(len(Ranked(first=i / 3, last=(i + 1) / 3).span(n)) == 1 for i in range(3))

    def test_the_easy_part_is_what_the_model_is_surest_of(self):
        """A proxy such as confidence falls as memorization rises: the sign must be turned."""
        weights, records = self.network.initial(1), self.records()
        sure = self.network(weights, records.inputs).softmax(1)
        sure = sure[torch.arange(len(records)), records.labels]
        easy = Ranked(last=0.5).chosen(self.network, weights, records)
        chosen = {bytes(each.numpy()) for each in easy.inputs}
        best = sure.argsort(descending=True)[: len(easy)]
        assert chosen == {bytes(records.inputs[i].numpy()) for i in best}

    def test_mean_hardness_is_what_a_client_says(self):
        weights, records = self.network.initial(1), self.records()
        sums = HardnessSum().sums(self.network, weights, Shards.of([records]), (0,))
        sure = self.network(weights, records.inputs).softmax(1)
        expected = (1 - sure[torch.arange(11), records.labels]).double().sum()
        torch.testing.assert_close(sums["total"][0], expected, rtol=1e-5, atol=1e-6)

    def test_wrong_shares_and_scores_are_refused(self):
        with pytest.raises(Refused, match="last must be above first"):
            Ranked(first=0.5, last=0.5)
        with pytest.raises(Refused, match="score"):
            Ranked(score="confidance")


class TestMessages:
    @pytest.mark.parametrize("mode", ["workers", "cohort"])
    def test_a_leaver_trains_on_its_part_alone_and_pays_for_the_ranking(self, mode):
        found = []

        def job(connection):
            ledger = Ledger()
            clients = scenario_clients(connection, Training(), SMALL, ledger)
            network = clients.channel.proxy.network
            weights, judge = network.initial(1), network.initial(2)
            access = Access(frozenset({0, 3}), Needs(leaver=True), frozenset({1, 2}))
            asking = clients.scoped(access)
            whole = asking.leavers.train(weights, {1, 2}, WORK, round=1)
            part = asking.parted(Part(Ranked(first=0.5), judge))
            half = part.leavers.train(weights, {1, 2}, WORK, round=1)
            found.append((whole, half, list(ledger)))

        Local(workers=2, mode=mode).run(SMALL, job)
        ((whole, half, charges),) = found
        assert half.examples.tolist() == [n - round(n / 2) for n in whole.examples.tolist()]
        for before, after in zip(charges[:2], charges[2:], strict=True):
            assert after.bytes_down == 2 * before.bytes_down
            assert after.samples == after.records + before.records
        assert not torch.equal(whole.deltas, half.deltas)

    def test_engines_agree(self):
        found = []

        def job(connection):
            clients = scenario_clients(connection, Training(), SMALL)
            network = clients.channel.proxy.network
            access = Access(frozenset({0}), Needs(leaver=True), frozenset({1, 2, 3}))
            asking = clients.scoped(access).parted(Part(Ranked(last=0.3), network.initial(2)))
            found.append(asking.leavers.train(network.initial(1), {1, 2, 3}, WORK, round=1))

        for mode in ("workers", "cohort"):
            Local(workers=2, mode=mode).run(SMALL, job)
        torch.testing.assert_close(found[0].deltas, found[1].deltas, rtol=1e-4, atol=1e-5)


class TestOrder:
    def test_one_part_is_the_strategy_itself(self):
        for strategy in (FineTune(rounds=2), Ask()):
            alone, _ = curve(strategy, [1, 2])
            refined, _ = curve(Rum((strategy,), by="clients", edges=()), [1, 2])
            assert len(alone) == len(refined)
            for one, other in zip(alone, refined, strict=True):
                assert torch.equal(one, other)

    def test_nothing_costs_nothing(self):
        models, history = curve(Rum((Nothing(), Nothing())), [1])
        assert models == []
        assert isinstance(history, History)

    def test_each_leaver_gets_what_its_hardness_says_and_the_plan_follows_the_hardness(self):
        """Where hardness is permuted, so is the plan: only client-level means are known."""
        world = World()
        with world.open() as clients:
            course = world.trained(clients, Needs())
        means = {}
        with world.open() as clients:
            for client in (1, 2):
                answer = clients.query(course.history.final, HardnessSum(), [client], round=7)
                means[client] = float(answer[client]["total"] / answer[client]["count"])
        edge = sum(means.values()) / 2
        easy, hard = sorted(means, key=means.__getitem__)
        planned = Rum((Nothing(), Ask()), by="clients", edges=(edge,))
        (found,), _ = curve(planned, [1, 2], world, course)
        (alone,), _ = curve(Ask(), [hard], world, course)
        torch.testing.assert_close(found, alone)
        turned = Rum((Ask(), Nothing()), by="clients", edges=(edge,))
        (other,), _ = curve(turned, [1, 2], world, course)
        (spared,), _ = curve(Ask(), [easy], world, course)
        torch.testing.assert_close(other, spared)

    def test_descending_runs_the_last_strategy_first(self):
        strategies = (Ask(lr=0.1), FineTune(rounds=1))
        up, _ = curve(Rum(strategies, by="records"), [1])
        down, _ = curve(Rum(strategies, by="records", order="descending"), [1])
        assert len(up) == len(down) == 2
        first, _ = curve(FineTune(rounds=1), [1])
        assert torch.equal(down[0], first[0])
        assert not torch.equal(up[0], first[0])


class TestRefused:
    @pytest.mark.parametrize(
        ("made", "sentence"),
        [
            (lambda: Rum(()), r"strategies must list one strategy or more"),
            (lambda: Rum((FedEraser(),)), r"strategies\[0\] works on what whole clients sent"),
            (lambda: Rum((Nothing(), Subtraction()), by="records"), r"strategies\[1\] works on"),
            (lambda: Rum((Nothing(), FedQuit()), by="clients"), r"edges must hold one number less"),
            (lambda: Rum(score="sureness"), "score"),
        ],
    )
    def test_what_does_not_go_together(self, made, sentence):
        with pytest.raises(Refused, match=sentence):
            made()

    def test_updates_of_whole_clients_may_be_undone_by_clients(self):
        Rum((Nothing(), Subtraction()), by="clients", edges=(0.2,))
