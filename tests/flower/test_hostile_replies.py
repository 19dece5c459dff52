"""Hostile replies beyond the table of docs/flower.md: sums, handshakes, first rounds, evaluate."""

import re
import time
from contextlib import contextmanager

import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.flower import (
    InProcessGrid,
    Local,
    Ray,
    Unlearning,
    handshake,
    kinds_in,
    replies,
)
from fedunlearn.local import LocalWork
from fedunlearn.unlearning import ClientFailed, Training
from strategies.fedaccum import FedAccum
from tests.support import plain_app as plain
from tests.support.grid_clients import ridge_answers, scenario_clients, with_training
from tests.support.hostile import LIAR, NO_SUMS, SCENARIO, WRONG, Hostile, in_every_engine, times

OTHERS = (0, 1, 3)

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
SUMS = WRONG | {
    case: rf"sent a reply .* used: its RidgeSums are no sums over its records: {what}"
    for case, (_, what) in NO_SUMS.items()
}
ENGINES = [
    pytest.param(Local(workers=2, mode="workers"), id="local"),
    pytest.param(Ray(), id="ray", marks=[pytest.mark.slow]),
]


@contextmanager
def hostile(monkeypatch, tmp_path, kind):
    """Let `LIAR` do what the yielded function is told, when asked for ``kind``."""
    case = tmp_path / "case"
    case.write_text("")
    in_every_engine(monkeypatch, lambda honest: Hostile(honest, kind, str(case)))
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ENGINES)
class TestOurClients:
    def test_a_late_reply_is_never_taken_for_another(self, engine, monkeypatch, tmp_path):
        in_time, late = times(engine)
        with hostile(monkeypatch, tmp_path, "train") as now:

            def check(clients, initial):
                now("")
                now(f"late {late}")
                timed = with_training(clients, timeout=in_time)
                without, _ = next(tolerant(timed).rounds(initial, 1, 1))
                assert without.clients == OTHERS
                now("")
                time.sleep(late)
                updates, _ = next(timed.rounds(initial, 2, 2))
                again, _ = next(clients.rounds(initial, 2, 2))
                torch.testing.assert_close(updates.deltas, again.deltas)

            under(engine, Training(rounds=1, work=WORK), check)

    def test_sums(self, engine, monkeypatch, tmp_path):
        with hostile(monkeypatch, tmp_path, "query.sums") as now:

            def check(clients, initial):
                now("")
                honest = ridge_answers(clients, initial)
                for case, what in SUMS.items():
                    now(case)
                    before = len(list(clients.ledger))
                    with pytest.raises(ClientFailed, match=rf"^Client {LIAR} {what}"):
                        ridge_answers(clients, initial)
                    assert charged(clients.ledger, before) == []
                    sums = ridge_answers(tolerant(clients), initial)
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


PLAIN_WRONG = WRONG | dict.fromkeys(("id 1.5", "id 99", "id 0"), "")


class TestWrappedApps:
    """In `fedunlearn.flower.Unlearning`."""

    @pytest.fixture
    def run(self, tmp_path):
        case = tmp_path / "case"
        case.write_text("")

        def run(what, *, tolerated=0, kind="train", first=1):
            unlearning = Unlearning(
                FedAvg(), FedAccum(), {}, clients=plain.CLIENTS, tolerated_failures=tolerated
            )

            def judge(key, record):
                case.write_text(what if key >= first else "")

            judge(0, None)
            grid = InProcessGrid(Hostile(plain.App().build(), kind, str(case)), plain.CLIENTS, 2)
            try:
                unlearning.start(
                    *(grid, plain.arrays(plain.INITIAL), 2, 60.0, ConfigRecord({})),
                    evaluate_fn=judge,
                )
            except (ClientFailed, Refused) as error:
                return unlearning, str(error)
            finally:
                grid.close()
            return unlearning, ""

        return run

    @pytest.mark.parametrize("case", PLAIN_WRONG)
    def test_the_first_round_in_which_nobody_is_known(self, run, case):
        unlearning, error = run(case, tolerated=1, first=0)
        node = 1000 + LIAR
        assert error.startswith(
            f"The client on node {node}" if case != "id 0" else "Nodes 1000 and"
        )
        if case not in {"empty", "raises"} and not case.startswith("id "):
            assert f"which says that it is client {LIAR}, sent a reply that cannot" in error
        assert len(unlearning.curve) == 1
        assert list(unlearning.ledger) == []

    @pytest.mark.parametrize("case", [c for c in WRONG if "num-examples" in c] + ["no count"])
    def test_a_count_that_is_none_in_an_evaluation(self, run, case):
        _, error = run(case, kind="evaluate")
        assert re.search(rf"^Client {LIAR} {WRONG[case]}", error), error
        _, error = run(case, kind="evaluate", tolerated=1)
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
