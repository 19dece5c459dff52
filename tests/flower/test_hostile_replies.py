"""Every reply that must not be used, under every grid: it is told of by name, or it is tolerated.

Nothing of it is averaged, stored or charged. docs/flower.md has the same table.
"""

import math
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy

from fedunlearn.checks import Refused
from fedunlearn.data import Backdoor, Digits, Dirichlet, Scenario, build_federation
from fedunlearn.flower import (
    InProcessGrid,
    Local,
    Ray,
    Unlearning,
    handshake,
    kinds_in,
    replies,
)
from fedunlearn.flower.engines import local as local_engine
from fedunlearn.flower.engines import ray as ray_engine
from fedunlearn.local import CrossEntropy, LocalWork
from fedunlearn.models import Mlp, mean
from fedunlearn.unlearning import ClientFailed, Training
from strategies.fedaccum import FedAccum
from tests.support import plain_app as plain
from tests.support.grid_clients import scenario_clients, with_channel, with_training

LIAR = 2
OTHERS = (0, 1, 3)
SCENARIO = Scenario(Digits(), Dirichlet(clients=4), Backdoor(), Mlp(), (1,), seed=5)
LATE = 6.0
IN_TIME = 5.0  # a process of Ray's may be at a late client's work when it gets another's message


def array(value):
    """Put a value everywhere into the first array."""

    def spoil(held, metrics):
        name = next(iter(held))
        held[name] = np.full_like(held[name], value)

    return spoil


def shaped(change):
    def spoil(held, metrics):
        name = next(iter(held))
        held[name] = change(held[name])

    return spoil


def metric(name, value):
    def spoil(held, metrics):
        metrics[name] = value

    return spoil


def no_metric(held, metrics):
    del metrics["num-examples"]


def no_array(held, metrics):
    del held[next(iter(held))]


def one_more(held, metrics):
    held["backdoor"] = np.zeros(3, np.float32)


SPOILED = {
    "nan": (array(np.nan), r"the array \S+ holds numbers that are not finite"),
    "inf": (array(np.inf), r"the array \S+ holds numbers that are not finite"),
    "1e30": (array(1e30), r"the array \S+ is longer than 1e\+18"),
    "wrong shape": (shaped(lambda a: a.ravel()[:-1]), r"the array \S+ has shape \(\d+,\), not \("),
    "one axis more": (shaped(lambda a: a[None]), r"the array \S+ has shape \(1, .*\), not \("),
    "float16": (shaped(lambda a: a.astype(np.float16)), r"the array \S+ is float16, not float"),
    "integers": (shaped(lambda a: a.astype(np.int32)), r"the array \S+ is int32, not float"),
    "missing array": (no_array, r"the array \S+ is missing"),
    "another array": (one_more, r"nobody asked for the array backdoor"),
    "no count": (no_metric, r"its metrics hold no num-examples"),
    **{
        f"num-examples {value}": (
            metric("num-examples", value),
            rf"its num-examples is {value}, no whole number from 1 to 1,000,000,000",
        )
        for value in (0, -5, math.nan, math.inf, 10**15, 2.5)
    },
    "num-examples a list": (metric("num-examples", [3]), r"its num-examples is \[3\], not one"),
    "seconds nan": (metric("seconds", math.nan), r"its seconds are nan"),
    "seconds negative": (metric("seconds", -1.0), r"its seconds are -1"),
}


class Hostile(ClientApp):
    """An app whose client `LIAR` does what a file says, when it is sent messages of a kind."""

    def __init__(self, app, kind, case):
        super().__init__()
        self.app, self.kind, self.case = app, kind, case

    def __call__(self, message, context):
        reply = self.app(message, context)
        case = Path(self.case).read_text()
        asked = message.metadata.message_type == self.kind
        if not case or not asked or context.node_config["partition-id"] != LIAR:
            return reply
        if case == "late":
            time.sleep(LATE)
            return reply
        if case == "raises":
            raise OSError("disk on fire")
        if case.startswith("id "):
            claim = metric("partition-id", eval(case[3:], {"nan": math.nan}))
            reply.content = spoiled(reply.content, claim)
        elif case == "empty":
            reply.content = RecordDict()
        elif case == "unreadable":
            held = next(iter(reply.content.array_records.values()))
            name = next(iter(held))
            honest = held[name]
            junk = b"\x93NUMPY junk" + bytes(64)
            held[name] = Array(honest.dtype, tuple(honest.shape), "numpy.ndarray", junk)
        elif case == "another shape than it says":
            held = next(iter(reply.content.array_records.values()))
            name = next(iter(held))
            small = Array(np.zeros(2, held[name].dtype))
            held[name] = Array(small.dtype, tuple(held[name].shape), small.stype, small.data)
        else:
            reply.content = spoiled(reply.content, SPOILED[case][0])
        return reply


def spoiled(content, spoil):
    """Return the content of a reply after ``spoil`` has changed its arrays and its metrics."""
    changed = RecordDict()
    held = {n: np.array(a.numpy()) for r in content.array_records.values() for n, a in r.items()}
    metrics = dict(content.metric_records["metrics"])
    spoil(held, metrics)
    if content.array_records:
        changed["arrays"] = ArrayRecord({name: Array(each) for name, each in held.items()})
    changed["metrics"] = MetricRecord(metrics)
    return changed


WRONG = {name: pattern for name, (_, pattern) in SPOILED.items()} | {
    "empty": r"it holds 0 MetricRecords, not one",
    "unreadable": r"the array \S+ cannot be read",
    "another shape than it says": r"the array \S+ has shape \(2,\), not \(",
    "raises": r"failed: [\s\S]*disk on fire",
}
WRONG = {  # all but an error are replies that cannot be used
    name: pattern if name == "raises" else rf"sent a reply that cannot be used: {pattern}"
    for name, pattern in WRONG.items()
}
LIES = {
    "id 1.5": r"The client on node \d+ says that it is client 1\.5\.",
    "id 99": r"The client on node \d+ says that it is client 99\.",
    "id -1": r"The client on node \d+ says that it is client -1\.",
    "id nan": r"The client on node \d+ says that it is client nan\.",
    "id [2]": r"The client on node \d+ says that it is client \[2\]\.",
    "id 0": r"Nodes \d+ and \d+ both say that they are client 0\.",
    "empty": r"The clients do not say who they are",
    "raises": r"The client on node \d+, asked who it is, failed: [\s\S]*disk on fire",
}
ENGINES = [
    pytest.param(Local(workers=2, mode="workers"), id="local"),
    pytest.param(Ray(), id="ray", marks=[pytest.mark.slow]),
]


@dataclass(frozen=True)
class Quitting:
    """A loss that ends the process in which one client computes it, unless somebody minds."""

    records: int

    def __call__(self, network, weights, images, labels, sent):
        if len(labels) == self.records:
            raise SystemExit(3)
        return CrossEntropy()(network, weights, images, labels, sent)


@contextmanager
def hostile(monkeypatch, tmp_path, kind):
    """Let `LIAR` do what the yielded function is told, when asked for ``kind``."""
    case = tmp_path / "case"
    case.write_text("")
    for engine in (local_engine, ray_engine):
        real = engine.build_client_app
        monkeypatch.setattr(
            engine,
            "build_client_app",
            lambda *args, real=real: Hostile(real(*args), kind, str(case)),
        )
    yield case.write_text


def under(engine, training, check):
    """Run ``check`` on the clients of a federation under an engine, and see that it was run."""
    here, ran = build_federation(SCENARIO), []

    def job(connection):
        check(scenario_clients(connection, training, SCENARIO), here.initial)
        ran.append(True)

    engine.run(SCENARIO, job, kinds_in(training))
    assert ran


def tolerant(clients, **changes):
    return with_training(clients, tolerated_failures=1, **changes)


def charged(ledger, before):
    return [charge.client for charge in list(ledger)[before:]]


WORK = LocalWork(epochs=1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ENGINES)
class TestOurClients:
    def rounds(self, clients, initial, honest, what):
        """A round in which one client lies ends with its name, or is that of the others."""
        before = len(list(clients.ledger))
        with pytest.raises(ClientFailed, match=rf"^Client {LIAR} {what}"):
            next(clients.rounds(initial, 1, 1))
        assert charged(clients.ledger, before) == []
        updates, weights = next(tolerant(clients).rounds(initial, 1, 1))
        assert updates.clients == OTHERS
        assert charged(clients.ledger, before) == list(OTHERS)
        expected = honest.without({LIAR})
        assert updates.examples.tolist() == expected.examples.tolist()
        torch.testing.assert_close(updates.deltas, expected.deltas)
        step = mean(expected.deltas, expected.examples)
        torch.testing.assert_close(weights, initial + step)

    def test_a_round(self, engine, monkeypatch, tmp_path):
        with hostile(monkeypatch, tmp_path, "train") as now:

            def check(clients, initial):
                now("")
                honest, _ = next(clients.rounds(initial, 1, 1))
                assert honest.clients == (0, 1, 2, 3)
                for case, what in WRONG.items():
                    now(case)
                    self.rounds(clients, initial, honest, what)

            under(engine, Training(rounds=1, work=WORK), check)

    def test_a_late_reply_is_never_taken_for_another(self, engine, monkeypatch, tmp_path):
        with hostile(monkeypatch, tmp_path, "train") as now:

            def check(clients, initial):
                now("")
                honest, _ = next(clients.rounds(initial, 1, 1))
                now("late")
                timed = with_training(clients, timeout=IN_TIME)
                self.rounds(timed, initial, honest, "did not answer within 5 seconds")
                now("")
                time.sleep(LATE)
                updates, _ = next(timed.rounds(initial, 2, 2))
                again, _ = next(clients.rounds(initial, 2, 2))
                torch.testing.assert_close(updates.deltas, again.deltas)

            under(engine, Training(rounds=1, work=WORK), check)

    def test_one_who_ends_the_process(self, engine, monkeypatch, tmp_path):
        records = len(build_federation(SCENARIO).train[LIAR])
        whole = replace(WORK, batch_size=10**6)
        quitting = Training(rounds=1, work=replace(whole, objective=Quitting(records)))

        def check(clients, initial):
            calm = with_channel(clients, training=Training(rounds=1, work=whole))
            honest, _ = next(calm.rounds(initial, 1, 1))
            self.rounds(clients, initial, honest, r"failed: [\s\S]*SystemExit")

        under(engine, quitting, check)

    def test_sums(self, engine, monkeypatch, tmp_path):
        with hostile(monkeypatch, tmp_path, "query.statistics") as now:

            def check(clients, initial):
                now("")
                honest = clients.statistics(initial)
                for case, what in WRONG.items():
                    now(case)
                    before = len(list(clients.ledger))
                    with pytest.raises(ClientFailed, match=rf"^Client {LIAR} {what}"):
                        clients.statistics(initial)
                    assert charged(clients.ledger, before) == []
                    sums = tolerant(clients).statistics(initial)
                    assert tuple(sums) == OTHERS
                    assert charged(clients.ledger, before) == list(OTHERS)
                    for client in OTHERS:
                        torch.testing.assert_close(sums[client], honest[client])

            under(engine, Training(rounds=1, work=WORK), check)

    def test_a_handshake(self, engine, monkeypatch, tmp_path):
        with hostile(monkeypatch, tmp_path, "query") as now:

            def check(clients, initial):
                connection = clients.channel.connection
                for case, what in LIES.items():
                    now(case)
                    with pytest.raises((ClientFailed, Refused), match=what):
                        handshake(connection.grid, 4)
                now("")
                assert handshake(connection.grid, 4).nodes == connection.nodes

            under(engine, Training(rounds=1, work=WORK), check)


PLAIN_WRONG = WRONG | {
    case: rf"sent a reply that cannot be used: it says that it is client {case[3:]}"
    for case in ("id 1.5", "id 99", "id 0")
}


class Judging(FedAvg):
    """Aggregates as Flower does, and remembers whose replies it was handed."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __deepcopy__(self, memo):
        return Judging(self.seen)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        self.seen.append([r.metadata.src_node_id - 1000 for r in replies])
        return super().aggregate_train(server_round, replies)


class TestWrappedApps:
    """In `fedunlearn.flower.Unlearning`, from the second round on; the first tells who is who."""

    @pytest.fixture
    def run(self, tmp_path):
        case = tmp_path / "case"
        case.write_text("")

        def run(what, *, tolerated=0, kind="train", first=1, timeout=60.0):
            seen = []
            strategy: Strategy = Judging(seen)
            unlearning = Unlearning(
                strategy, FedAccum(), {}, clients=plain.CLIENTS, tolerated_failures=tolerated
            )

            def judge(key, record):
                case.write_text(what if key >= first else "")

            judge(0, None)
            grid = InProcessGrid(Hostile(plain.App().build(), kind, str(case)), plain.CLIENTS, 2)
            try:
                unlearning.start(
                    grid,
                    plain.arrays(plain.INITIAL),
                    2,
                    timeout,
                    ConfigRecord({}),
                    evaluate_fn=judge,
                )
            except (ClientFailed, Refused) as error:
                return unlearning, seen, str(error)
            finally:
                grid.close()
            return unlearning, seen, ""

        return run

    @pytest.mark.parametrize("case", [*PLAIN_WRONG, "late"])
    def test_a_round(self, run, case):
        what = PLAIN_WRONG.get(case, r"did not answer within 1 seconds")
        timeout = 1.0 if case == "late" else 60.0
        unlearning, seen, error = run(case, timeout=timeout)
        assert re.search(rf"^Client {LIAR} {what}", error), error
        assert len(unlearning.curve) == 2
        assert seen == [[0, 1, 2, 3, 4]]
        assert len(list(unlearning.ledger)) == plain.CLIENTS

        unlearning, seen, error = run(case, tolerated=1, timeout=timeout)
        assert not error
        others = [client for client in range(plain.CLIENTS) if client != LIAR]
        assert seen == [[0, 1, 2, 3, 4], others]
        assert charged(unlearning.ledger, plain.CLIENTS) == others
        assert [stored.clients for stored in unlearning.history] == [
            tuple(range(plain.CLIENTS)),
            tuple(others),
        ]
        first = plain.formula(plain.EVERYBODY, 1)
        plain.close(unlearning.curve[2].weights, plain.formula(others, 1, first))

    @pytest.mark.parametrize("case", PLAIN_WRONG)
    def test_the_first_round_in_which_nobody_is_known(self, run, case):
        unlearning, seen, error = run(case, tolerated=1, first=0)
        node = 1000 + LIAR
        assert error.startswith(
            f"The client on node {node}" if case != "id 0" else "Nodes 1000 and"
        )
        if case not in {"empty", "raises"} and not case.startswith("id "):
            assert f"which says that it is client {LIAR}, sent a reply that cannot" in error
        assert seen == []
        assert len(unlearning.curve) == 1
        assert list(unlearning.ledger) == []

    @pytest.mark.parametrize("case", [c for c in WRONG if "num-examples" in c] + ["no count"])
    def test_a_count_that_is_none_in_an_evaluation(self, run, case):
        _, _, error = run(case, kind="evaluate")
        assert re.search(rf"^Client {LIAR} {WRONG[case]}", error), error
        _, _, error = run(case, kind="evaluate", tolerated=1)
        assert not error


class TestWhatCannotBeAChoiceOfTheClient:
    def message(self, node=7, content=None):
        return Message(content or RecordDict(), node, "train")

    def test_an_answer_counts_once_for_whom_it_was_asked(self):
        grid = InProcessGrid(ClientApp(), 2, 1)
        try:
            sent = [self.message(1000), self.message(1001)]
            grid.push_messages(sent)
        finally:
            grid.close()
        one, two = (Message(RecordDict(), reply_to=message) for message in sent)
        good, wrong = replies.paired(sent, [one, two])
        assert good == {1000: one, 1001: two}
        assert wrong == {}
        good, wrong = replies.paired(sent, [one, one, two])
        assert (list(good), wrong) == ([1001], {1000: "answered 2 times."})
        good, wrong = replies.paired(sent, [one], timeout=3)
        assert (list(good), wrong) == ([1000], {1001: "did not answer within 3 seconds."})
        two.metadata.__dict__["_src_node_id"] = 1000
        good, wrong = replies.paired(sent, [one, two])
        assert (list(good), wrong) == ([1000], {1001: "answered in the name of another node."})
