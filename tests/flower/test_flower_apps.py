"""Apps as Flower's users write them: what their strategies and clients do goes on as in Flower."""

import logging
import random

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, Result

from fedunlearn.checks import Refused
from fedunlearn.flower import Unlearning, rewinding
from fedunlearn.simulations import docs_tables
from fedunlearn.unlearning import Plain
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.retrain import Retrain
from tests.support.decaying_app import CLIENTS, FIRST, TARGETS, Halving, NumpyApp, model

ALL = {
    "FedAvg": FedAvg,
    "Halving": Halving,
    "FedAvgM": lambda: flower.FedAvgM(server_momentum=0.9),
    "FedProx": lambda: flower.FedProx(proximal_mu=0.5),
    "FedMedian": flower.FedMedian,
    "FedTrimmedAvg": flower.FedTrimmedAvg,
    "FedAdam": flower.FedAdam,
    "FedAdagrad": flower.FedAdagrad,
    "FedYogi": flower.FedYogi,
    "Krum": lambda: flower.Krum(num_malicious_nodes=1),
    "MultiKrum": lambda: flower.MultiKrum(num_malicious_nodes=1, num_nodes_to_select=3),
    "Bulyan": lambda: flower.Bulyan(num_malicious_nodes=0),
    "QFedAvg": lambda: flower.QFedAvg(client_learning_rate=0.1),
}
MEANS = {"FedAvg", "Halving", "FedProx"}


@pytest.fixture
def in_order(monkeypatch):
    """Let Flower ask its nodes in their order: another one rounds the sums of a mean otherwise."""
    monkeypatch.setattr(random, "sample", lambda nodes, size: sorted(nodes)[:size])


def wrapped(strategy, method=None, withdrawals=None, clients=CLIENTS, **named):
    return Unlearning(strategy, method or Retrain(), withdrawals or {}, clients=clients, **named)


def without(leaver):
    """The same app in which the leaver never was; the others count from 0."""
    kept = [client for client in range(CLIENTS) if client != leaver]
    sizes = tuple(NumpyApp.sizes[client] for client in kept)
    return NumpyApp(clients=CLIENTS - 1, targets=TARGETS[kept], sizes=sizes)


class TestTraining:
    @pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
    @pytest.mark.parametrize("name", ALL)
    def test_is_flower_s_to_the_bit(self, name, kind, in_order):
        theirs = NumpyApp(kind, spelling="")
        expected = theirs.run(ALL[name]())
        ours = NumpyApp(kind)
        result = ours.run(wrapped(ALL[name]()))
        assert model(result).dtype == model(expected).dtype
        assert model(result).tobytes() == model(expected).tobytes()
        assert sorted(ours.seen, key=str) == sorted(theirs.seen, key=str)
        for told in ("train_metrics_clientapp", "evaluate_metrics_clientapp"):
            mine, other = getattr(result, told), getattr(expected, told)
            assert {key: dict(m) for key, m in mine.items()} == {
                key: dict(m) for key, m in other.items()
            }

    def test_a_rate_that_the_strategy_halves_stays_halved(self):
        app = NumpyApp()
        app.run(wrapped(Halving()), rounds=7)
        rates = {config["server-round"]: config["lr"] for _, config in app.seen}
        assert list(rates.values()) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025])


class TestForgetting:
    @pytest.mark.parametrize("name", ["FedAvg", "Halving", "FedAvgM", "FedMedian"])
    def test_retraining_is_a_run_without_the_leaver_to_the_bit(self, name, in_order):
        unlearning = wrapped(ALL[name](), Retrain(), {4: [2]})
        NumpyApp().run(unlearning)
        again = {n: step.weights.numpy() for n, step in enumerate(unlearning.curve[5:], start=1)}
        told = []

        def judge(number, arrays):
            (array,) = arrays.values()
            if number in again:
                np.testing.assert_array_equal(again[number], array.numpy())
                told.append(number)

        without(2).run(ALL[name](), rounds=6, evaluate_fn=judge)
        assert told == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("name", ["FedAvgM", "FedAdam", "Halving"])
    def test_a_request_that_names_nobody_changes_nothing(self, name, in_order):
        plain = NumpyApp().run(wrapped(ALL[name]()))
        asked = NumpyApp().run(wrapped(ALL[name](), FineTune(2), {2: [], 4: []}))
        assert model(plain).tobytes() == model(asked).tobytes()

    def test_rounds_that_are_run_again_have_the_rates_that_they_had(self):
        app = NumpyApp()
        app.run(wrapped(Halving(), Retrain(), {5: [2]}, recovery=Plain(2)), rounds=7)
        rates = [config["lr"] for client, config in app.seen if client == 0]
        training = [0.1, 0.1, 0.05, 0.05, 0.05]
        assert rates == pytest.approx([*training, *training, 0.025, 0.025, 0.025, 0.025])

    def test_a_calibration_has_the_rate_of_its_round(self):
        app = NumpyApp()
        app.run(wrapped(Halving(), FedEraser(interval=1), {5: [2]}), rounds=5)
        rates = [config["lr"] for client, config in app.seen if client == 0]
        training = [0.1, 0.1, 0.05, 0.05, 0.05]
        assert rates[:5] == pytest.approx(training)
        assert rates[5:] == pytest.approx(training[1:])  # the first round is taken as it is


class TestState:
    """Clients who keep something between rounds."""

    def fresh(self, rounds):
        """The models of a run in which client 2 never was."""
        app = NumpyApp(keeping=True, clients=CLIENTS)
        unlearning = wrapped(Sparing(2), Nothing(), {})
        app.run(unlearning, rounds=rounds)
        return [step.weights.numpy() for step in unlearning.curve]

    def test_retraining_begins_from_the_state_of_the_beginning(self):
        unlearning = wrapped(FedAvg(), Retrain(), {4: [2]})
        NumpyApp(keeping=True, mods=(rewinding,)).run(unlearning)
        fresh = self.fresh(6)
        for number, step in enumerate(unlearning.curve[5:], start=1):
            np.testing.assert_allclose(step.weights.numpy(), fresh[number], rtol=1e-6)

    def test_a_client_who_missed_the_new_beginning_goes_back_as_well(self):
        asked = {1: [0, 1, 2, 3], 2: [0, 1, 4], 3: [4, 5, 2], 4: [0, 1, 5], 5: [3, 4], 6: [0, 5]}
        unlearning = wrapped(Choosing(asked), Retrain(), {3: [2]})
        NumpyApp(keeping=True, mods=(rewinding,), query=True).run(unlearning)
        others = {number: [c for c in who if c != 2] for number, who in asked.items()}
        alone = wrapped(Choosing(others), Nothing(), {})
        NumpyApp(keeping=True, query=True).run(alone)
        assert len(unlearning.curve) == 10
        for number, step in enumerate(unlearning.curve[4:], start=1):
            np.testing.assert_allclose(
                step.weights.numpy(), alone.curve[number].weights.numpy(), rtol=1e-6
            )

    def test_the_app_sees_its_own_state_alone(self, in_order):
        names = []

        def spy(message, context, answer):
            names.append(sorted(context.state))
            return answer(message, context)

        plain = NumpyApp(keeping=True, spelling="").run(FedAvg())
        result = NumpyApp(keeping=True, mods=(rewinding, spy)).run(wrapped(FedAvg()))
        assert model(result).tobytes() == model(plain).tobytes()
        assert set(map(tuple, names)) == {(), ("velocity",)}

    def test_without_the_mod_it_is_refused_in_the_first_round(self):
        app = NumpyApp(keeping=True)
        with pytest.raises(Refused, match=r"keep state .* ClientApp\(mods=\[rewinding\]\)"):
            app.run(wrapped(FedAvg(), Retrain(), {4: [2]}))
        assert len(app.seen) == CLIENTS

    def test_a_method_that_runs_nothing_again_needs_no_mod(self):
        app = NumpyApp(keeping=True)
        app.run(wrapped(FedAvg(), FineTune(2), {4: [2]}))
        assert len(app.seen) == CLIENTS * 4 + (CLIENTS - 1) * 4


class Sparing(FedAvg):
    """Asks everybody, and averages without one client."""

    def __init__(self, client):
        super().__init__()
        self.client = client

    def aggregate_train(self, server_round, replies):
        kept = [r for r in replies if r.metadata.src_node_id != 1000 + self.client]
        return super().aggregate_train(server_round, kept)


class Choosing(FedAvg):
    """Asks those whom a table names for the round."""

    def __init__(self, asked):
        super().__init__()
        self.asked = asked

    def configure_train(self, server_round, arrays, config, grid):
        messages = super().configure_train(server_round, arrays, config, grid)
        wanted = {1000 + client for client in self.asked[server_round]}
        return [message for message in messages if message.metadata.dst_node_id in wanted]


class Saving(FedAvg):
    """Loops by itself, as advanced apps do, to save the best model and to log."""

    def __init__(self):
        super().__init__()
        self.best, self.log = None, []

    def start(
        self,
        grid,
        initial_arrays,
        num_rounds=3,
        timeout=3600,
        train_config=None,
        evaluate_config=None,
        evaluate_fn=None,
    ):
        result, arrays = Result(), initial_arrays
        for number in range(1, num_rounds + 1):
            messages = self.configure_train(number, arrays, train_config, grid)
            replies = grid.send_and_receive(messages, timeout=timeout)
            found, metrics = self.aggregate_train(number, replies)
            if found is not None:
                arrays = result.arrays = found
            if metrics is not None:
                result.train_metrics_clientapp[number] = metrics
            messages = self.configure_evaluate(number, arrays, evaluate_config, grid)
            replies = grid.send_and_receive(messages, timeout=timeout)
            told = self.aggregate_evaluate(number, replies)
            result.evaluate_metrics_clientapp[number] = told
            self.log.append((number, told["loss"]))
            if self.best is None or told["loss"] < self.best:
                self.best = told["loss"]
        return result


class Talking(Saving):
    def start(self, grid, initial_arrays, num_rounds=3, **named):
        content = RecordDict({"arrays": initial_arrays})
        grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()])


class Short(Saving):
    def start(self, grid, initial_arrays, num_rounds=3, **named):
        return super().start(grid, initial_arrays, num_rounds=2, **named)


class TestOwnStart:
    def test_it_is_called_and_equals_flower_s(self, in_order):
        expected = Saving()
        plain = NumpyApp(spelling="").run(expected, evaluate_config=ConfigRecord())
        own = Saving()
        result = NumpyApp().run(wrapped(own))
        assert model(result).tobytes() == model(plain).tobytes()
        assert own.log == expected.log
        assert own.best == expected.best

    @pytest.mark.parametrize("method", [Retrain(), FedEraser(interval=2), FineTune(2), FedAccum()])
    def test_each_of_its_rounds_is_a_model(self, method):
        own = Saving()
        unlearning = wrapped(own, method, {2: [1], 4: [3]}, recovery=Plain(1))
        result = NumpyApp().run(unlearning)
        plain = wrapped(FedAvg(), method, {2: [1], 4: [3]}, recovery=Plain(1))
        expected = NumpyApp().run(plain)
        assert [step.moment for step in unlearning.curve] == [step.moment for step in plain.curve]
        np.testing.assert_allclose(model(result), model(expected), rtol=1e-6)
        assert [number for number, _ in own.log] == list(range(1, len(plain.curve)))
        assert [loss for _, loss in own.log] == pytest.approx(
            [metrics["loss"] for metrics in expected.evaluate_metrics_clientapp.values()]
        )

    @pytest.mark.parametrize(
        ("strategy", "said"),
        [(Talking, "sends messages of its own"), (Short, "ended before all of 6 models")],
    )
    def test_what_cannot_be_interrupted_is_refused_with_a_remedy(self, strategy, said):
        with pytest.raises(Refused, match=rf"{strategy.__name__}\.start {said}"):
            NumpyApp().run(wrapped(strategy()))


class TestWarnings:
    @pytest.mark.parametrize("name", ALL)
    def test_an_aggregation_that_is_no_mean_warns_once_and_names_both(self, name, caplog):
        with caplog.at_level(logging.WARNING, logger="flwr"):
            NumpyApp().run(wrapped(ALL[name](), FedAccum(), {4: [2]}))
        told = [r.getMessage() for r in caplog.records if "replay such means" in r.getMessage()]
        kind = type(ALL[name]()).__name__
        assert len(told) == (name not in MEANS)
        assert all(kind in each and "FedAccum" in each for each in told)

    def test_a_method_that_replays_no_means_warns_of_nothing(self, caplog):
        NumpyApp().run(wrapped(flower.FedMedian(), Retrain(), {4: [2]}))
        assert "replay such means" not in caplog.text


class TestRefusals:
    def test_both_spellings_of_who_a_client_is_are_read(self):
        unlearning = wrapped(FedAvg(), Retrain(), {4: [2]})
        result = NumpyApp(spelling="partition_id").run(unlearning)
        assert len(unlearning.curve) == 11
        assert set(result.train_metrics_clientapp[1]) == {"train_loss"}

    def test_who_says_nothing_is_refused_before_anybody_else_trains(self):
        app = NumpyApp(spelling="")
        with pytest.raises(Refused, match="do not say who they are"):
            app.run(wrapped(FedAvg(), Retrain(), {4: [2]}))
        assert len(app.seen) == 1

    @pytest.mark.parametrize("build", [flower.FedXgbBagging, flower.FedXgbCyclic])
    def test_trees_are_refused(self, build):
        with pytest.raises(Refused, match=rf"{build.__name__} cannot be wrapped: its mode"):
            wrapped(build())

    @pytest.mark.parametrize("name", docs_tables.names())
    def test_every_method_is_served_to_its_end_or_refused_before_anybody_trains(self, name):
        app, method = NumpyApp(), docs_tables.strategy(name)
        try:
            unlearning = wrapped(FedAvg(), method, {4: [2]})
            app.run(unlearning)
        except (Refused, PermissionError):
            assert app.seen == []
            assert name not in docs_tables.served_by_plain_apps()
        else:
            assert name in docs_tables.served_by_plain_apps()
            assert all(step.weights.isfinite().all() for step in unlearning.curve)


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_unnamed_arrays_come_back_as_they_came(kind):
    result = NumpyApp(kind).run(wrapped(FedAvg(), Retrain(), {4: [2]}))
    assert list(result.arrays) == ["0"]
    assert model(result).dtype == kind
    assert model(result).shape == FIRST.shape
