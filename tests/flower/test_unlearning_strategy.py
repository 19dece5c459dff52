"""Flower apps that know nothing of fedunlearn, in a world with closed forms.

Client i moves the fraction 1 - (1 - r)^E of the way to its target in E epochs, as in world.py.
"""

import math
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    Strategy,
)
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.flower import InProcessGrid, identity, plain_nodes
from fedunlearn.flower.scoped_grid import Present
from fedunlearn.flower.unlearning_strategy import Unlearning
from fedunlearn.history import Needs
from fedunlearn.local import LocalWork
from fedunlearn.unlearning import ClientFailed, Moment, Plain
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.retrain import Retrain
from strategies.subtraction import Subtraction
from tests.support.plain_app import (
    CLIENTS,
    EPOCHS,
    EVERYBODY,
    INITIAL,
    RATE,
    SIZES,
    TARGETS,
    App,
    arrays,
    close,
    formula,
    vector,
)

DOCS = Path(__file__).parents[2] / "docs" / "flower.md"
METHODS = [Nothing(), Retrain(), FineTune(2), FedEraser(), FedAccum(), Subtraction(rounds=0)]


def forgetting(method, withdrawals, strategy=None, **kwargs):
    return Unlearning(strategy or FedAvg(), method, withdrawals, clients=CLIENTS, **kwargs)


class TestTraining:
    def test_follows_the_closed_form(self):
        unlearning = forgetting(Nothing(), {})
        result = App().run(unlearning)
        for number, step in enumerate(unlearning.curve):
            close(step.weights, formula(EVERYBODY, number))
        close(vector(result.arrays), formula(EVERYBODY, 3))

    @pytest.mark.parametrize(
        "build",
        [
            FedAvg,
            lambda: FedAvgM(server_momentum=0.9),
            lambda: FedProx(proximal_mu=0.5),
            FedMedian,
            FedTrimmedAvg,
            FedAdam,
        ],
        ids=["fedavg", "fedavgm", "fedprox", "fedmedian", "fedtrimmedavg", "fedadam"],
    )
    def test_is_that_of_flower_where_nobody_leaves(self, build):
        def judge(number, record):
            return MetricRecord({"round": number, "norm": float(np.linalg.norm(vector(record)))})

        plain, wrapped = App("query"), App("query")
        config, told = ConfigRecord({"lr": 0.3}), ConfigRecord({"batches": 2})
        theirs = plain.run(
            build(),
            train_config=ConfigRecord(dict(config)),
            evaluate_fn=judge,
            evaluate_config=ConfigRecord(dict(told)),
        )
        ours = wrapped.run(
            forgetting(Nothing(), {}, build()),
            train_config=config,
            evaluate_config=told,
            evaluate_fn=judge,
        )
        close(vector(ours.arrays), vector(theirs.arrays))
        for name in (
            "train_metrics_clientapp", "evaluate_metrics_clientapp", "evaluate_metrics_serverapp",
        ):  # fmt: skip
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert set(mine) == set(other) != set()
            for key in mine:
                assert dict(mine[key]) == pytest.approx(dict(other[key]), rel=1e-5)
        assert sorted(wrapped.seen, key=str) == sorted(plain.seen, key=str)
        assert (dict(config), dict(told)) == ({"lr": 0.3}, {"batches": 2})  # Flower writes there
        kinds = [[array.dtype for array in result.arrays.values()] for result in (ours, theirs)]
        assert kinds[0] == kinds[1]  # FedAdam: float64

    def test_learns_who_is_who_from_train_replies_and_hides_that_from_the_metrics(
        self, monkeypatch
    ):
        monkeypatch.setattr(plain_nodes, "queried", None)  # plain apps log an error for a query
        result = App("train").run(forgetting(Nothing(), {}))
        assert set(result.train_metrics_clientapp[1]) == {"loss"}

    def test_asks_a_part_where_the_app_answers_a_query(self):
        app = App("query")
        app.run(forgetting(Nothing(), {1: [4]}, FedAvg(fraction_train=0.4)), rounds=4)
        assert [sum(r == number for _, r in app.asked("train")) for number in (1, 2, 3, 4)] == [
            2
        ] * 4


class TestForgetting:
    def test_retraining_is_training_of_those_who_remain(self):
        unlearning = forgetting(Retrain(), {2: [1, 3]})
        result = App().run(unlearning)
        remaining = EVERYBODY - {1, 3}
        moments = [(s.moment.phase, s.moment.request, s.moment.round) for s in unlearning.curve]
        assert moments == [
            ("train", 0, 0), ("train", 0, 1), ("train", 0, 2),
            ("unlearn", 1, 1), ("unlearn", 1, 2), ("train", 1, 3),
        ]  # fmt: skip
        close(unlearning.curve[2].weights, formula(EVERYBODY, 2))
        for position, rounds in ((3, 1), (4, 2), (5, 3)):
            close(unlearning.curve[position].weights, formula(remaining, rounds))
        close(vector(result.arrays), formula(remaining, 3))

    def test_keys_of_the_result_are_positions_of_the_curve(self):
        unlearning = forgetting(FedAccum(), {2: [1]}, recovery=Plain(1))
        told = []

        def judge(key, record):
            told.append(key)
            close(vector(record), unlearning.curve[key].weights)
            return MetricRecord({"first": float(vector(record)[0])})

        result = App().run(unlearning, evaluate_fn=judge)
        assert told == list(range(6)) == list(result.evaluate_metrics_serverapp)
        assert [step.moment.phase for step in unlearning.curve] == [
            "train", "train", "train", "unlearn", "recover", "train",
        ]  # fmt: skip
        assert list(result.evaluate_metrics_clientapp) == [1, 2, 3, 4, 5]
        assert list(result.train_metrics_clientapp) == [1, 2, 4, 5]  # 3 asked nobody

    @pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
    def test_a_request_that_names_nobody_changes_nothing(self, method):
        unlearning = forgetting(method, {2: []})
        result = App().run(unlearning)
        close(vector(result.arrays), formula(EVERYBODY, 3))
        assert len(unlearning.curve) == 4

    @pytest.mark.parametrize("introduces", ["train", "query"])
    @pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
    def test_who_left_is_never_addressed_nor_kept(self, method, introduces):
        app = App(introduces)
        unlearning = forgetting(method, {2: [1], 3: [0, 4]}, recovery=Plain(1))
        app.run(unlearning, rounds=4)
        counts = {c: sum(client == c for client, _ in app.asked("train")) for c in EVERYBODY}
        assert (counts[0], counts[1], counts[4]) == (counts[0], 2, counts[0])
        last = {c: [k for k, who, _ in app.seen if who == c][-1] for c in EVERYBODY}
        assert set(last.values()) == {"evaluate"}
        at = {c: max(i for i, (_, who, _) in enumerate(app.seen) if who == c) for c in EVERYBODY}
        assert at[1] < min(at[0], at[4]) <= max(at[0], at[4]) < min(at[2], at[3])
        assert sum(who == 1 for who, _ in app.asked("evaluate")) == 2
        assert unlearning.history is not None
        kept = {c for stored in unlearning.history for c in stored.updates.clients}
        assert kept == ({2, 3} if method.needs.rounds else set())

    def test_federaser_asks_fewer_epochs_where_the_app_reads_them_from_train_config(self):
        app = App()
        config = ConfigRecord({"local-epochs": EPOCHS, "lr": 0.3})
        unlearning = forgetting(FedEraser(interval=1, effort=0.5), {3: [1]})
        app.run(unlearning, train_config=config)
        asked = [c["local-epochs"] for kind, _, c in app.seen if kind == "train"]
        assert asked == [EPOCHS] * 3 * CLIENTS + [EPOCHS // 2] * 2 * (CLIENTS - 1)
        assert all(c["lr"] == 0.3 for kind, _, c in app.seen if kind == "train")
        samples = unlearning.ledger.of(1).samples
        assert samples == 2 * EPOCHS // 2 * (SIZES.sum() - SIZES[1])
        assert dict(config) == {"local-epochs": EPOCHS, "lr": 0.3}

    def test_federaser_asks_again_who_trained_in_the_stored_round(self):
        app = App("query")
        unlearning = forgetting(FedEraser(interval=1), {3: [1]}, FedAvg(fraction_train=0.6))
        app.run(unlearning, train_config=ConfigRecord({"local-epochs": EPOCHS}))
        asked = {
            (config["server-round"], config["local-epochs"], client)
            for kind, client, config in app.seen
            if kind == "train"
        }
        for number in (2, 3):
            trained = {c for r, epochs, c in asked if (r, epochs) == (number, EPOCHS)}
            again = {c for r, epochs, c in asked if (r, epochs) == (number, EPOCHS // 2)}
            assert len(trained) == 3
            assert again == trained - {1}

    def test_a_method_that_asks_a_leaver_is_stopped(self):
        app = App()
        with pytest.raises(PermissionError, match=r"Clients \[0\] may not be asked"):
            app.run(forgetting(Asking(LocalWork(epochs=1)), {2: [0]}))
        assert app.asked("train") == []

    def test_federaser_is_its_equation(self):
        unlearning = forgetting(FedEraser(interval=1), {3: [1]})
        App().run(unlearning)
        rows = sorted(EVERYBODY - {1})
        shares = SIZES[rows] / SIZES[rows].sum()
        weights = INITIAL.astype(float)
        move = 1 - (1 - RATE) ** EPOCHS
        for number in range(3):
            stored = move * (TARGETS[rows] - formula(EVERYBODY, number))
            fresh = stored if number == 0 else move * (TARGETS[rows] - weights)
            lengths = np.linalg.norm(stored, axis=1) / np.linalg.norm(fresh, axis=1)
            weights = weights + shares @ (lengths[:, None] * fresh)
            close(unlearning.curve[4 + number].weights, weights)

    def test_the_server_s_momentum_starts_afresh_after_a_withdrawal(self):
        def build():
            return FedAvgM(server_momentum=0.9)

        unlearning = forgetting(Retrain(), {3: [1]}, build())
        App().run(unlearning)
        start = formula(EVERYBODY, 0)
        remaining = EVERYBODY - {1}
        momentum = np.zeros(6)
        for step in unlearning.curve[4:]:
            momentum = 0.9 * momentum + formula(remaining, 1, start) - start
            start = start + momentum
            close(step.weights, start)

    @pytest.mark.parametrize("build", [FedMedian, FedTrimmedAvg])
    def test_a_strategy_that_empties_the_replies_does_not_empty_the_record(self, build):
        unlearning = forgetting(FedAccum(), {}, build())
        App().run(unlearning)
        move = 1 - (1 - RATE) ** EPOCHS
        assert unlearning.history is not None
        assert [stored.number for stored in unlearning.history] == [1, 2, 3]
        for stored, step in zip(unlearning.history, unlearning.curve, strict=False):
            close(stored.updates.deltas, move * (TARGETS - step.weights.numpy()))
            assert stored.updates.examples.tolist() == SIZES.tolist()


def test_the_ledger_holds_the_bytes_of_the_messages():
    unlearning = forgetting(FineTune(1), {2: [4]})
    App().run(unlearning, rounds=2)
    charges = list(unlearning.ledger)
    assert len(charges) == 2 * CLIENTS + CLIENTS - 1
    assert {(c.bytes_down, c.bytes_up) for c in charges} == {(4 * 6, 4 * 6)}
    assert unlearning.ledger.of(1).messages == 2 * (CLIENTS - 1)
    assert {c.moment for c in unlearning.ledger.of(1)} == {Moment("unlearn", 1, 1)}
    assert unlearning.ledger.of(1).samples == SIZES[:4].sum()
    assert math.isnan(unlearning.ledger.seconds)  # plain apps do not say


class TestFailures:
    def test_a_client_who_fails_before_it_said_its_name_is_named_by_its_node(self):
        with pytest.raises(ClientFailed, match=r"(?s)client on node 1003 failed: .*disk on fire"):
            App(broken=3).run(forgetting(Nothing(), {}))

    @pytest.mark.parametrize("introduces", ["train", "query"])
    def test_a_failing_client_ends_the_run_by_name(self, introduces):
        app = App(introduces)

        def judge(key, record):
            app.broken = 2 if key == 1 else None

        with pytest.raises(ClientFailed, match=r"(?s)Client 2 failed: .*disk on fire"):
            app.run(forgetting(Nothing(), {}), evaluate_fn=judge)

    def test_a_lost_reply_is_named(self, monkeypatch):
        real = InProcessGrid.send_and_receive

        def lossy(self, messages, *, timeout=None):
            return [r for r in real(self, messages) if r.metadata.src_node_id != 1001]

        app = App("query")

        def judge(key, record):
            if key == 1:
                monkeypatch.setattr(InProcessGrid, "send_and_receive", lossy)

        with pytest.raises(ClientFailed, match="Client 1 did not answer within 5 seconds"):
            app.run(forgetting(Nothing(), {}), evaluate_fn=judge, timeout=5)

    def test_hidden_nodes_get_no_message(self):
        app = App()
        grid = InProcessGrid(app.build(), CLIENTS, workers=1)
        try:
            few = Present(grid, frozenset({1000, 1002}))
            assert list(few.get_node_ids()) == [1000, 1002]
            messages = [Message(RecordDict(), node, "train") for node in (1000, 1001)]
            for send in (few.push_messages, few.send_and_receive):
                with pytest.raises(PermissionError, match=r"Nodes \[1001\] may not be asked"):
                    send(messages)
        finally:
            grid.close()
        assert app.seen == []


@dataclass(frozen=True)
class Asking:
    """Asks clients for other work than the app's."""

    work: LocalWork
    needs: Needs = field(default_factory=lambda: Needs(remaining=True))

    def length(self, request):
        return 1

    def unlearn(self, request, history, clients):
        clients.train(history.final, [0], self.work, round=1)
        yield history.final


class TestRefusals:
    def test_methods_that_plain_clients_cannot_serve(self):
        with pytest.raises(Refused, match="Subtraction needs unlabelled records on the server"):
            forgetting(Subtraction(), {})
        with pytest.raises(Refused, match="Asking needs the leavers to work once more"):
            forgetting(Asking(LocalWork(), Needs(leaver=True)), {})

    def test_work_that_a_plain_message_cannot_describe(self):
        with pytest.raises(Refused, match="other work than more or fewer epochs"):
            App().run(forgetting(Asking(LocalWork(epochs=1, batch_size=7)), {1: [1]}))
        with pytest.raises(Refused, match=r"asks for 3 local epochs. Name the epochs of your app"):
            App().run(forgetting(Asking(LocalWork(epochs=3)), {1: [1]}))

    def test_strategies_that_count_a_privacy_budget(self):
        private = DifferentialPrivacyServerSideFixedClipping(FedAvg(), 1.0, 1.0, CLIENTS)
        with pytest.raises(Refused, match="cannot be wrapped: unlearning trains again"):
            forgetting(Retrain(), {}, private)

    @pytest.mark.parametrize(
        ("unlearning", "message"),
        [
            (lambda: forgetting(Retrain(), {4: [1]}), "lies outside training"),
            (lambda: forgetting(Retrain(), {2: [5]}), r"names \[5\]"),
            (lambda: forgetting(Retrain(), {1: [2], 2: [2]}), "they left"),
            (lambda: forgetting(Retrain(), {2: [0, 1, 2, 3]}), "waits for min_available_nodes=2"),
            (
                lambda: forgetting(Retrain(), {}, FedAvg(fraction_train=0.5)),
                "do not say who they are",
            ),
        ],
    )
    def test_come_before_any_training(self, unlearning, message):
        app = App()
        with pytest.raises(Refused, match=message):
            app.run(unlearning())
        assert app.seen == []

    def test_models_that_a_vector_cannot_carry(self):
        def start(name, array):
            grid = InProcessGrid(App().build(), CLIENTS, workers=1)
            try:
                forgetting(Retrain(), {}).start(grid, ArrayRecord({name: Array(array)}))
            finally:
                grid.close()

        with pytest.raises(Refused, match=r"bn.num_batches_tracked is a running statistic"):
            start("bn.num_batches_tracked", np.zeros((), dtype=np.int64))
        with pytest.raises(Refused, match=r"weight is torch.complex64"):
            start("weight", np.zeros(3, dtype=np.complex64))
        with pytest.raises(Refused, match=r"array name is <U1, which torch does not know"):
            start("name", np.array(["a"]))
        with pytest.raises(Refused, match="no array of floating point"):
            start("count", np.zeros(3, dtype=np.int64))
        for lost in (np.nan, np.inf, 1e300):
            with pytest.raises(Refused, match="NaN or infinite"):
                start("weight", np.full(3, lost))

    def test_clients_that_do_not_say_who_they_are(self):
        with pytest.raises(Refused, match="Add one line to the metrics that your train function"):
            App("nowhere").run(forgetting(Retrain(), {}))

    def test_a_federation_of_another_size(self, monkeypatch):
        monkeypatch.setattr(identity, "SECONDS_TO_CONNECT", 0.0)
        for clients in (4, 6):
            app = App()
            with pytest.raises(Refused, match=f"has 5 clients, not clients={clients}"):
                app.run(Unlearning(FedAvg(), Retrain(), {}, clients=clients))
            assert app.seen == []

    @pytest.mark.parametrize("introduces", ["train", "query"])
    def test_clients_that_say_the_same(self, introduces):
        app = App(introduces, double=True)
        with pytest.raises(Refused, match=r"0 to 4, each once; .* are \[0, 0, 2, 3, 4\]"):
            app.run(forgetting(Retrain(), {}))

    def test_epochs_that_are_not_whole(self):
        app = App()
        with pytest.raises(Refused, match=r"epochs must be a whole number of at least 1, not 2.5"):
            app.run(forgetting(Retrain(), {}), train_config=ConfigRecord({"local-epochs": 2.5}))
        assert app.seen == []


def test_it_is_a_flower_strategy():
    unlearning = forgetting(Retrain(), {2: [1]})
    assert isinstance(unlearning, Strategy)
    app = App()
    first, second = app.run(unlearning), app.run(unlearning)  # and nothing is left of a first run
    close(vector(first.arrays), vector(second.arrays))
    assert len(unlearning.curve) == 6
    assert len(list(unlearning.ledger)) == 2 * CLIENTS + 3 * (CLIENTS - 1)


def test_the_code_in_the_docs_runs(monkeypatch):
    server, client, query = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    trained = []

    def fit(model, data, lr, epochs):
        trained.append((lr, epochs))
        return 0.5

    names = {
        **{"app": ClientApp(), "Message": Message, "Context": Context, "RecordDict": RecordDict},
        **{"ArrayRecord": ArrayRecord, "MetricRecord": MetricRecord},
        **{"model": nn.Linear(2, 1), "data": [0, 1], "fit": fit},
    }
    exec(client + query.replace("\n  ", "\n").removeprefix("  "), names)
    task = ModuleType("my_app.task")
    task.Net = lambda: nn.Linear(2, 1)
    monkeypatch.setitem(sys.modules, "my_app", ModuleType("my_app"))
    monkeypatch.setitem(sys.modules, "my_app.task", task)
    served = {}
    exec(server.replace("FedAvg()", "FedAvg(fraction_evaluate=0.0)"), served)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    grid = InProcessGrid(names["app"], 10, workers=1)
    try:
        served["app"](grid, context)
    finally:
        grid.close()
    # rounds 3, 5 and 7 are calibrated with half the epochs by the nine who remain
    assert trained == [(0.01, 4)] * 80 + [(0.01, 2)] * 27 + [(0.01, 4)] * 18


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_forgets_in_flower_s_simulation():
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    unlearning = forgetting(Retrain(), {2: [1]})
    server = ServerApp()

    @server.main()
    def main(grid, context):
        unlearning.start(grid, arrays(INITIAL), 2)

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, App().build(), CLIENTS, backend_config=resources)
    close(unlearning.curve[2].weights, formula(EVERYBODY, 2))
    close(unlearning.curve[4].weights, formula(EVERYBODY - {1}, 2))
