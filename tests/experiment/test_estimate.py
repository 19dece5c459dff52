"""The estimate says what the run will say: files of real runs are compared, never seconds."""

import io
import itertools
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import ClassVar

import pandas as pd
import pytest
import torch
from rich.console import Console

import fedunlearn.experiment.estimate.dry_run as library
import fedunlearn.experiment.estimate.timing as pacing
import fedunlearn.unlearning.server_data as proxies
from fedunlearn.checks import Refused
from fedunlearn.data import Backdoor, Dirichlet, build_federation
from fedunlearn.data import NoPlanting as Unplanted
from fedunlearn.evaluators import BackdoorProbe, Distance, Forgetting, Utility
from fedunlearn.experiment import Evaluation, Experiment, before_training, recorded_by, run
from fedunlearn.experiment.estimate import Pace, Speed, estimate, estimated_costs
from fedunlearn.experiment.estimate.dry_clients import NUDGE, DryServerData, dry_clients
from fedunlearn.experiment.estimate.dry_run import DryRun
from fedunlearn.flower import client_app
from fedunlearn.history import Needs, OnDisk
from fedunlearn.local import Distillation, LocalWork, Sgd, Straggling, Trained
from fedunlearn.models import Mlp
from fedunlearn.simulations import __main__ as command
from fedunlearn.unlearning import SERVER_ID, FedDyn, Ledger, Plain, ProxyData, Request, Training
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.retrain import Retrain
from strategies.subtraction import Subtraction
from tests.support.paces import PACE
from tests.support.slow import slowly
from tests.support.world import FewDigits, World, without_leavers

DISTIL = LocalWork(epochs=2, optimizer=Sgd(0.01), objective=Distillation())
SIX = {
    "none": Nothing(),
    "retrain": Retrain(),
    "finetune": FineTune(rounds=2),
    "federaser": FedEraser(interval=2, effort=0.4),
    "fedaccum": FedAccum(),
    "subtraction": Subtraction(rounds=2, work=DISTIL),
}
WAVES = Experiment(
    dataset=FewDigits(),
    partition=Dirichlet(clients=6),
    planting=Backdoor(),
    model=Mlp((4,)),
    training=Training(rounds=6, cohort=0.6, work=LocalWork(epochs=3, batch_size=256)),
    requests=(Request(frozenset({1}), 2), Request(frozenset({0, 4}), 5)),
    strategies=SIX,
    reference=Retrain(),
    evaluation=Evaluation((Utility(), Forgetting(), BackdoorProbe(), Distance()), every=4),
    recovery=Plain(rounds=2, batches=2),
)
SIZE = 4 * (64 * 4 + 4 + 4 * 10 + 10)
CASE = ["seed", "strategy", "request"]
COUNTED = ["bytes_down", "bytes_up", "client_epochs", "samples", "rounds", "store_bytes"]


@dataclass(frozen=True)
class Curious:
    """A method that uses whatever a method may use, and divides by lengths of what it sees."""

    guarantee: ClassVar = "none"

    needs: Needs = field(
        default=Needs(updates=True, models=True, remaining=True, leaver=True, proxy=True)
    )

    def length(self, request):
        return 3

    def unlearn(self, request, history, clients):
        weights = history.final
        for before, after in itertools.pairwise(history):
            moved = float(torch.linalg.vector_norm(after.before - before.before))
            weights = weights + before.share(request.clients) * (1 / moved)
        rest = history.without(request.clients)
        fresh = clients.train(weights, rest[0].clients[:1], round=1)
        ratio = 1 / float(torch.linalg.vector_norm(fresh.deltas))
        fresh.deltas.mul_(ratio)
        yield weights + fresh.deltas[0]
        gone = clients.leavers.train(weights, work=clients.work.scaled(0.5), round=2)
        yield weights - gone.deltas.sum(dim=0)
        spread = float(clients.proxy.inputs.std())
        yield clients.proxy.distil(history.final, weights * spread, DISTIL, round=1)


def carried_out(experiment, folder, seeds):
    console = Console(file=io.StringIO())
    return run(experiment, seeds, folder, {}, console)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    carried_out(WAVES, folder, (0, 1))
    return {name: pd.read_csv(folder / f"{name}.csv") for name in ("summary", "ledger", "metrics")}


@pytest.fixture(scope="module")
def expected():
    return estimate(WAVES, (0, 1), PACE)


@pytest.fixture
def idle(monkeypatch):
    """Let nobody train, neither clients nor the server."""

    def never(*_):
        raise AssertionError("somebody trained")

    monkeypatch.setattr(client_app, "train_locally", never)
    monkeypatch.setattr(proxies, "train_locally", never)


def of_requests(costs):
    return costs[costs.phase == "unlearn"].set_index(CASE)[COUNTED].astype("float64")


def summed(summary):
    return summary.set_index(CASE)[COUNTED].astype("float64")


class TestAgainstRuns:
    def test_every_number_of_the_summary(self, ran, expected):
        summary = ran["summary"]
        assert len(summary) == 2 * 2 * 6
        assert (summary[["store_bytes"]].nunique() > 4).all()
        pd.testing.assert_frame_equal(of_requests(expected), summed(summary), check_exact=True)

    def test_every_training_between_and_after(self, ran, expected):
        ledger = ran["ledger"].assign(messages=2)
        trained = ledger[ledger.phase == "train"].groupby(CASE)
        columns = ["bytes_down", "bytes_up", "samples", "messages"]
        found = expected[expected.phase == "train"].set_index(CASE).sort_index()
        assert len(found) == 2 * (1 + 2 * 6)
        pd.testing.assert_frame_equal(found[columns], trained[columns].sum(), check_exact=True)
        assert (found["rounds"] == trained["round"].nunique()).all()

    def test_messages_are_models_that_travelled(self, ran, expected):
        ledger = ran["ledger"]
        sent = (ledger.bytes_down > 0).sum() + (ledger.bytes_up > 0).sum()
        assert expected.messages.sum() == sent > 0

    def test_seconds_are_made_of_clients_models_distilling_and_the_start(
        self, ran, monkeypatch, idle
    ):
        def seconds(**parts):
            pace = replace(PACE, **{"samples": float("inf"), **parts})
            costs = estimate(WAVES, (0,), pace, clock=lambda: 0.0).set_index(
                ["strategy", "request", "phase"]
            )
            return costs.seconds

        monkeypatch.setattr(Pace, "distilling", lambda self, proxy, work: 0.0)
        metrics = ran["metrics"][(ran["metrics"].seed == 0)]
        metrics = metrics[metrics.metric == "test_accuracy"].replace("recover", "unlearn")
        models = metrics.groupby(["strategy", "request", "phase"]).size()
        found = seconds(evaluation=1.0)
        assert found[models.index].tolist() == models.tolist()
        assert found.sum() == len(metrics)
        ledger = ran["ledger"][ran["ledger"].seed == 0].replace("recover", "unlearn")
        clients = ledger[ledger.client != SERVER_ID].groupby(["strategy", "request", "phase"])
        assert seconds(samples=0.5)[clients.samples.sum().index].tolist() == pytest.approx(
            (2 * clients.samples.sum()).tolist()
        )
        started = seconds(start=7.0)
        assert started["shared", 0, "train"] == started.sum() == 7
        monkeypatch.setattr(Pace, "distilling", lambda self, proxy, work: work.epochs)
        server = ledger[ledger.client == SERVER_ID].groupby("strategy").samples.sum()
        assert list(server.index) == ["subtraction"]
        assert seconds().groupby("strategy").sum()["subtraction"] == 2 * server.iloc[0] > 0

    def test_the_server_s_arithmetic_takes_the_time_that_it_takes(self, monkeypatch):
        monkeypatch.setattr(Pace, "distilling", lambda self, proxy, work: 0.0)
        clock = itertools.count(step=3)
        pace = replace(PACE, samples=float("inf"))
        found = estimate(WAVES, (0,), pace, clock=clock.__next__).seconds
        assert set(found) == {3}

    @pytest.mark.parametrize(
        "store", [OnDisk(encoding="int8"), *slowly(OnDisk(encoding="int8", limit=1e9))]
    )
    def test_bytes_on_disk_are_those_of_the_encoding(self, store, tmp_path):
        tried = {"federaser": FedEraser(interval=2), "curious": Curious()}
        tiny = replace(WAVES, store=store, strategies=tried, recovery=Plain(rounds=1))
        summary = carried_out(tiny, tmp_path, (2,))
        costs = of_requests(estimate(tiny, (2,), PACE))
        pd.testing.assert_frame_equal(costs, summed(summary), check_exact=True)
        row = 5 * SIZE if store.limit else 4 * (SIZE / 4 + 4) + SIZE
        assert costs.store_bytes[2, "curious", 1] == SIZE + 2 * row

    def test_nobody_leaves_and_no_requests(self, tmp_path):
        nobody = replace(WAVES, requests=(Request(frozenset(), 3),), strategies={"none": Nothing()})
        summary = carried_out(nobody, tmp_path, (0,))
        costs = estimate(nobody, (0,), PACE)
        pd.testing.assert_frame_equal(of_requests(costs), summed(summary), check_exact=True)
        assert list(costs["rounds"]) == [3, 0, 3, 0, 3]
        trained = estimate(replace(nobody, requests=()), (0,), PACE)
        assert trained[["strategy", "phase", "rounds"]].values.tolist() == [["shared", "train", 6]]
        assert trained.bytes_up.tolist() == [6 * 4 * SIZE]


class TestDryClients:
    """Next to clients over a grid: the same answers and charges, but nobody trains."""

    @pytest.fixture(params=["plain", "with absences", "corrected"])
    def both(self, request):
        work = LocalWork(epochs=3)
        changes = {
            "plain": {},
            "with absences": {"dropout": 0.4, "work": replace(work, straggling=Straggling(0.5))},
            "corrected": {"correction": FedDyn()},
        }
        training = Training(rounds=6, cohort=0.5, work=work)
        world = World(training=replace(training, **changes[request.param]))
        with world.open() as real:
            unlabelled = replace(real.channel.proxy, ledger=Ledger())
            dry = DryServerData(unlabelled, lambda *_: 0.5)
            here = world.here
            yield dry_clients(here.train, here.holdings, world.training, dry), real

    @pytest.mark.parametrize(
        "ask",
        [
            lambda clients, weights: clients.train(weights, round=3),
            lambda clients, weights: clients.train(weights, [3, 1, 1], round=1),
            lambda clients, weights: clients.train(weights, (), round=1),
            lambda clients, weights: clients.train(weights, work=LocalWork(epochs=7), round=2),
            lambda clients, weights: clients.leavers.train(weights, round=2),
            lambda clients, weights: list(clients.rounds(weights, 2, 5))[-1][0],
        ],
    )
    def test_the_same_charges_cohorts_and_shapes(self, both, ask):
        weights = torch.linspace(1, 2, 6)
        needs = Needs(remaining=True, leaver=True, proxy=True)
        found, wanted = (ask(without_leavers(c, {0}, needs), weights.clone()) for c in both)
        assert found.clients == wanted.clients
        assert found.examples.tolist() == wanted.examples.tolist()
        assert found.examples.dtype == wanted.examples.dtype
        assert found.deltas.shape == wanted.deltas.shape
        assert found.deltas.dtype == wanted.deltas.dtype
        charged, real = ([replace(c, seconds=0) for c in clients.ledger] for clients in both)
        assert charged == real
        assert len(real) >= len(wanted.clients)
        assert [charge.seconds for charge in both[0].ledger] == [0] * len(real)

    def test_the_same_refusals(self, both):
        for clients in both:
            rest = without_leavers(clients, {0})
            with pytest.raises(PermissionError, match=r"Clients \[0\] may not be asked"):
                rest.train(torch.zeros(6), [0, 1], round=1)
            with pytest.raises(PermissionError, match="leaver=True"):
                _ = rest.leavers
            with pytest.raises(PermissionError, match="proxy=True"):
                _ = rest.proxy
            with pytest.raises(PermissionError, match=r"Clients \[1\] may not be asked"):
                without_leavers(clients, {0}, Needs(leaver=True)).leavers.train(
                    torch.zeros(6), [1], round=1
                )
            assert rest.work == clients.channel.training.work
            assert clients.ledger.charges == []

    def test_distilling_is_charged_and_changes_nothing(self, both):
        work = LocalWork(epochs=2, objective=Distillation())
        student = torch.ones(6)
        dry, real = (without_leavers(c, {0}, Needs(proxy=True)).proxy for c in both)
        assert dry.distil(torch.zeros(6), student, work, round=1) is student
        assert dry.inputs is real.inputs
        real.distil(torch.zeros(6), student, work, round=1)
        (charged,), (wanted,) = dry.real.ledger, real.ledger
        assert charged == replace(wanted, seconds=0.5 * 3 * 8)

    def test_updates_and_models_move_and_take_no_memory(self, both):
        start = torch.linspace(1, 2, 6)
        steps = list(both[0].rounds(start, 1, 3))
        for number, (updates, weights) in enumerate(steps, start=1):
            assert updates.deltas.untyped_storage().nbytes() == 4
            assert weights.untyped_storage().nbytes() == 4
            assert weights.tolist() == pytest.approx([1 + number * NUDGE] * 6)
            assert (updates.deltas == NUDGE).all()
        fresh = both[0].train(start, [1, 3], round=1).deltas
        fresh[0] = 7  # a strategy's own
        assert fresh[1].tolist() == pytest.approx([NUDGE] * 6)


class TestDryRun:
    def test_nobody_trains(self, idle):
        def never(proxy, work):
            asked.append(work)
            return 0.0

        asked = []
        pace = SimpleNamespace(start=0.0, samples=1.0, evaluation=0.0, distilling=never)
        assert len(estimate(replace(WAVES, strategies=SIX), (0,), pace))
        assert asked == [DISTIL] * 4

    def test_kept_rounds_take_no_memory_and_keep_what_is_needed(self):
        experiment = replace(WAVES, strategies={"curious": Curious()})
        dry = DryRun(experiment, build_federation(experiment.scenario(0)), PACE)
        clients = dry._clients("curious")
        course = recorded_by(dry._record, before_training(dry.federation, experiment.policy))
        steps = library.train(course, clients, 3, experiment.needs)
        kept = library._followed(steps)[0].history
        assert [stored.number for stored in kept] == [1, 2, 3]
        assert kept.nbytes == SIZE + 3 * 5 * SIZE
        first = kept[0]
        assert first.updates.deltas.shape == (4, SIZE // 4)
        left = first.without({first.clients[0]})
        assert left.updates.clients == first.clients[1:]
        assert left.updates.deltas.untyped_storage().nbytes() == 4
        assert left.before.untyped_storage().nbytes() == 4
        assert left.nbytes == 3 * SIZE + SIZE
        whole, part = first.share(first.clients), first.share(set(first.clients[1:]))
        assert whole.tolist() == pytest.approx([NUDGE] * (SIZE // 4))
        held = [len(dry.federation.train[client]) for client in first.clients]
        assert (part / whole).tolist() == pytest.approx([1 - held[0] / sum(held)] * (SIZE // 4))
        with pytest.raises(LookupError, match="Round 1 keeps no broadcast model"):
            _ = first.reduced(Needs(updates=True)).before
        assert first.reduced(Needs(models=True)).nbytes == SIZE

    @pytest.mark.parametrize(
        "error", [ZeroDivisionError("x / 0"), IndexError("none"), ValueError("nan"), RuntimeError()]
    )
    def test_a_strategy_that_fails_on_made_up_updates_is_named(self, error):
        class Failing(Nothing):
            def unlearn(self, request, history, clients):
                raise error

        experiment = replace(WAVES, strategies={"mine": Failing()})
        with pytest.raises(Refused, match=r"strategy=mine cannot be estimated: .* made up"):
            estimate(experiment, (0,), PACE)

    def test_what_a_strategy_refuses_itself_and_what_is_forbidden_are_left_as_they_are(self):
        class Failing(Nothing):
            needs = Needs(remaining=True)

            def unlearn(self, request, history, clients):
                if error:
                    raise error[0]
                clients.train(history.final, request.clients, round=1)
                yield history.final

        error = [Refused("no such thing")]
        experiment = replace(WAVES, strategies={"mine": Failing()})
        with pytest.raises(Refused, match=r"^no such thing$"):
            estimate(experiment, (0,), PACE)
        error.clear()
        with pytest.raises(PermissionError, match="may not be asked"):
            estimate(experiment, (0,), PACE)


class TestPace:
    @pytest.fixture
    def timed(self, monkeypatch):
        """Fake all measurements; return what was asked of the clients."""

        def measured(engine, scenario, training, *, clock):
            asked.append((engine, scenario.seed, training))
            return Speed(2.0, ((1.0, 100), (1.0, 300), (1.0, 200)))

        asked = []
        monkeypatch.setattr(pacing, "measure", measured)
        return asked

    @pytest.mark.parametrize(
        ("forward", "epochs"), [(1e-9, 3), (1 / 3.001, 1), (1e6, 1), (1 / 6.001, 2)]
    )
    def test_long_rounds_are_timed_with_fewer_epochs(self, timed, monkeypatch, forward, epochs):
        torch.set_num_threads(2)
        records = 4 / 6 * sum(map(len, build_federation(WAVES.scenario(5)).train))
        once = 5.0 / 3.0 / records  # a record's part of an epoch of five seconds
        seen = {1 / 3.001: 1.001 * once, 1 / 6.001: 0.499 * once}.get(forward, forward)
        monkeypatch.setattr(pacing, "_evaluating", lambda *_: (0.25, seen))
        pace = Pace.of(WAVES, (5, 6))
        assert pace == Pace(start=2.0, samples=200, epochs=epochs, rounds=3, evaluation=0.25)
        ((engine, seed, training),) = timed
        assert (engine, seed) == (WAVES.engine, 5)
        work = replace(WAVES.training.work, epochs=epochs)
        assert training == replace(WAVES.training, work=work)
        assert torch.get_num_threads() == 1

    def test_a_model_is_measured_a_few_times_as_in_a_run(self, timed):
        @dataclass(frozen=True)
        class Spy:
            def __call__(self, model, retrained):
                seen.append((model, retrained))
                assert len(model.logits("forget"))
                return {}

        def evaluated(step):
            seen.clear()
            clock = itertools.count(step=step)
            return Pace.of(experiment, (0,), clock.__next__).evaluation

        seen = []
        experiment = replace(WAVES, evaluation=Evaluation((Spy(),), batch_size=64))
        assert evaluated(0.25) == 0.25
        assert len(seen) == 4
        models = [model for model, _ in seen]
        assert len({id(model) for model in models}) == 4
        assert [reference for _, reference in seen] == [models[0], *models[:3]]
        assert models[0].batch_size == 64
        assert {"retained/0", "retained/5", "test", "triggered"} <= set(models[0].sets)
        assert "retained/1" not in models[0].sets
        assert evaluated(2) == 2
        assert len(seen) == 1
        records = sum(map(len, seen[0][0].sets.values()))
        here = build_federation(experiment.scenario(0))
        clock = itertools.count(step=2).__next__
        assert pacing._evaluating(experiment, here, clock) == (2, 2 / records)

    def test_distilling_is_timed_once_a_work_on_two_batches(self, monkeypatch):
        trained = []

        def train(network, start, images, labels, work, *rest):
            trained.append((len(images), work.epochs))
            return Trained(start, len(images))

        here = build_federation(replace(WAVES, proxy=0.2).scenario(0))
        clock = itertools.count(step=6).__next__
        proxy = ProxyData(here.network, here.proxy, Ledger(), 0, clock)
        monkeypatch.setattr(proxies, "train_locally", train)
        pace = Pace(0, 1, 1, 1, 0)
        work = replace(DISTIL, epochs=2, batch_size=16)
        assert len(here.proxy) > 32
        assert pace.distilling(proxy, work) == 6 / (32 * (2 + 1))
        assert pace.distilling(proxy, replace(work)) == 6 / (32 * 3)
        assert trained == [(32, 1), (32, 2)]
        assert proxy.ledger.charges == []
        pace.distilling(proxy, replace(work, epochs=5))
        assert trained[2:] == [(32, 1), (32, 5)]

    @pytest.mark.parametrize("seeds", [(), (1, 1)])
    def test_seeds_are_checked_before_anything_is_timed(self, timed, seeds):
        with pytest.raises(Refused, match="seeds must name one or more different seeds"):
            Pace.of(WAVES, seeds)
        assert timed == []

    def test_what_any_request_cannot_be_measured_on_is_refused_before(self, timed, monkeypatch):
        @dataclass(frozen=True)
        class Misfit(Unplanted):
            def sets(self, dataset, orders):
                if 2 in orders:
                    raise Refused("the third leaver does not fit")
                return {}

        monkeypatch.setattr(pacing, "_evaluating", lambda *_: pytest.fail("it was timed"))
        with pytest.raises(Refused, match="third leaver"):
            Pace.of(replace(WAVES, planting=Misfit()), (0,))

    def test_it_says_what_was_timed(self):
        said = Pace(0, 1234.5, epochs=1, rounds=9, evaluation=0.0321).describe()
        assert "9 rounds of 1 epoch (1,234 samples/s), a model was measured (0.032 s). " in said
        said = Pace(0, 1, epochs=5, rounds=9, evaluation=1, distilled={"work": 1.0}).describe()
        assert "of 5 epochs (1 samples/s), a model was measured (1 s), and the server dist" in said


def shown(*things):
    console = Console(file=io.StringIO(), width=100)
    console.print(*things)
    return console.file.getvalue()


class TestTable:
    def test_means_of_a_seed_and_sums_of_all(self):
        def row(seed, strategy, phase, count, stored):
            names = ("bytes_down", "bytes_up", "messages", "client_epochs", "rounds", "seconds")
            values = dict(zip(names, [1e6 * count, 2e6 * count, *[count] * 4], strict=True))
            case = {"seed": seed, "strategy": strategy, "phase": phase}
            return {**case, **values, "store_bytes": stored * 1e6}

        rows = [
            *(row(seed, "shared", "train", 10 + 2 * seed, 7) for seed in (0, 1)),
            *(row(seed, "mine", "unlearn", 1, 2 + seed) for seed in (0, 0, 1, 1)),
            *(row(seed, "retrain", "unlearn", 5, 0) for seed in (0, 1)),
            *(row(seed, name, "train", 8, 3) for seed in (0, 1) for name in ("mine", "retrain")),
        ]
        lines = [line.split() for line in shown(estimated_costs(pd.DataFrame(rows))).splitlines()]
        lines = [line for line in lines if line and "─" not in line[0]]
        assert lines[0] == ["Expected", "costs", "of", "one", "seed", "(mean", "of", "2)"]
        assert lines[2] == [
            "Strategy",
            "stored",
            "down",
            "up",
            "Messages",
            "epochs",
            "Models",
            "Seconds",
        ]
        assert lines[3:] == [
            ["(training)", "7", "11", "22", "11", "11", "11", "11"],
            ["►", "retrain", "0", "5", "10", "5", "5", "5", "5"],
            ["mine", "2.5", "2", "4", "2", "2", "2", "2"],
            ["(training", "on)", "3", "16", "32", "16", "16", "16", "16"],
            ["all,", "2", "seeds", "68", "136", "68", "68", "68", "68"],
        ]

    def test_one_seed_and_nothing_after_training(self, idle):
        ends = replace(WAVES, requests=(Request(frozenset({1}), 6),), strategies={"n": Nothing()})
        said = shown(estimated_costs(estimate(ends, (0,), PACE)))
        assert said.splitlines()[0].strip() == "Expected costs of one seed"
        assert "training on" not in said
        assert "\nall  " in said
        assert "seeds" not in said


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Run the command in an empty folder; it must stay empty."""
    monkeypatch.chdir(tmp_path)

    def told(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", "estimate", *arguments])
        command.main()

    yield told
    assert list(tmp_path.iterdir()) == []


class TestCommand:
    SMALL = ("model=mlp", "engine.device=cpu", "training.rounds=4", "training.work.epochs=1")

    def test_it_counts_times_and_writes_nothing(self, told, capsys):
        told(*self.SMALL, "withdrawal=client", "seeds=[3,4]", "strategies=[none,federaser]")
        said, errors = capsys.readouterr()
        assert errors == ""
        assert max(map(len, said.splitlines())) <= 100
        rows = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
        sent = 4810 * 4 * 5 * 4 / 1e6
        assert rows["(training)"][2:6] == [f"{sent:.1f}", f"{sent:.1f}", "40", "20"]
        assert rows["none"][2:7] == ["0"] * 5
        assert rows["federaser"][4:7] == ["8", "4", "2"]
        assert "finetune" not in rows
        assert "mean of 2" in said
        assert " ".join(said.split()).endswith(
            "drawing figures come on top. 2 seeds x 3 references cannot tell anything from chance; "
            "references=4 or more seeds could."
        )
        assert "all strategies start from" in said

    def test_it_reads_what_compare_reads(self, told, monkeypatch):
        def read(experiment, seeds):
            seen.append((experiment, seeds))
            raise Refused("enough")

        seen = []
        monkeypatch.setattr(Pace, "of", read)
        with pytest.raises(SystemExit):
            told("seeds=[8,9]", "strategies=[fedaccum,federaser]", "strategy.interval=3")
        ((experiment, seeds),) = seen
        assert seeds == [8, 9]
        assert experiment.strategies == {
            "none": Nothing(),
            "fedaccum": FedAccum(),
            "federaser": FedEraser(interval=3),
        }

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["modle=mlp"], "modle does not exist; did you mean model?"),
            (["strategies=[none,retrin]"], "strategies=retrin does not exist; did you mean"),
            (["strategy.interval=0"], "strategy.interval must be a whole number"),
            (["seeds=[0,-1]"], "Each of seeds must be a whole number"),
            (["seeds=[]"], "seeds must be a number or different ones, not []"),
            (["history=none"], "needs stored updates"),
            (["model=lenet5"], "needs images of at least 28x28"),
            (["planting=backdoor", "planting.target=12"], "planting.target=12 is no class"),
            (["-m", "seed=0,1"], "estimate examines one configuration: leave out -m"),
            (["--config-name", "mine"], "examines one configuration: leave out"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_is_a_sentence_and_exit_code_2(
        self, told, capsys, monkeypatch, arguments, sentence
    ):
        monkeypatch.setattr(pacing, "measure", lambda *_: pytest.fail("it was measured"))
        with pytest.raises(SystemExit) as left:
            told(*arguments)
        assert left.value.code == 2
        _, error = capsys.readouterr()
        assert sentence in error
        assert len(error.splitlines()) == 1

    def test_a_flag_that_prints_only_prints(self, told, capsys, monkeypatch):
        monkeypatch.setattr(pacing, "measure", lambda *_: pytest.fail("it was measured"))
        with suppress(SystemExit):  # Hydra leaves after some flags and returns after others
            told("--cfg", "job")
        assert "heldout: 0.2" in capsys.readouterr().out

    def test_the_usage_names_it(self, capsys, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", "--help"])
        with pytest.raises(SystemExit):
            command.main()
        assert "\n  estimate  " in capsys.readouterr().out
