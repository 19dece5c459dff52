"""A small comparison on digits, end to end: its files are the interface for people's notebooks."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from fedunlearn.checks import Refused
from fedunlearn.data import Backdoor, Dirichlet, build_federation
from fedunlearn.data import NoPlanting as Unplanted
from fedunlearn.experiment import Evaluation
from fedunlearn.flower import Local
from fedunlearn.history import InMemory, OnDisk
from fedunlearn.local import LocalWork
from fedunlearn.models import Mlp
from fedunlearn.unlearning import FedAvgM, Plain, Request, Training
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from tests.support.small_experiment import MEASURES, SMALL, carried_out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    summary = carried_out(SMALL, folder, seeds=(0, 1))
    return folder, summary


def table(finished, name):
    return pd.read_csv(finished[0] / f"{name}.csv")


class TestFiles:
    def test_metrics_are_tidy_and_complete(self, finished):
        metrics = table(finished, "metrics")
        assert list(metrics) == ["seed", "strategy", "request", "phase", "round", "metric", "value"]
        counted = metrics[metrics.metric == "test_accuracy"].groupby(["strategy", "phase"]).size()
        assert counted.to_dict() == {
            ("shared", "train"): 2 * 4,
            ("none", "unlearn"): 2 * 1,
            ("retrain", "unlearn"): 2 * 5,
            ("finetune", "unlearn"): 2 * 3,
            ("federaser", "unlearn"): 2 * 3,
            ("fedaccum", "unlearn"): 2 * 2,
            ("subtraction", "unlearn"): 2 * 4,
        }
        assert not metrics.duplicated(
            ["seed", "strategy", "request", "phase", "round", "metric"]
        ).any()

    def test_round_0_of_unlearning_is_the_trained_model(self, finished):
        metrics = table(finished, "metrics")
        trained = metrics[(metrics.phase == "train") & (metrics["round"] == 4)]
        before = metrics[(metrics.phase == "unlearn") & (metrics["round"] == 0)]
        for (seed, name), rows in before.groupby(["seed", "strategy"]):
            expected = trained[trained.seed == seed].set_index("metric").value
            found = rows.set_index("metric").value
            pd.testing.assert_series_equal(
                found[expected.index], expected, check_names=False, obj=name
            )

    def test_the_summary_is_the_last_row_of_each_curve_and_its_gap(self, finished):
        metrics, summary = table(finished, "metrics"), table(finished, "summary")
        assert len(summary) == 2 * 6
        retrained = summary[summary.strategy == "retrain"].set_index("seed")
        for _, row in summary.iterrows():
            curve = metrics[(metrics.seed == row.seed) & (metrics.strategy == row.strategy)]
            last = curve[curve["round"] == curve["round"].max()].set_index("metric").value
            for name in ("test_accuracy", "forget_accuracy", "attack_success_rate"):
                assert row[name] == last[name]
                gap = row[name] - retrained.loc[row.seed, name]
                assert row[f"{name}_gap"] == pytest.approx(gap, abs=1e-12)
        assert (retrained.filter(like="_gap") == 0).all(axis=None)

    def test_costs_are_those_of_the_ledger(self, finished):
        ledger, summary = table(finished, "ledger"), table(finished, "summary")
        size = 4 * build_federation(SMALL.scenario(0)).network.layout.size
        assert set(ledger[ledger.client >= 0].bytes_down) == {size}
        for _, row in summary.iterrows():
            spent = ledger[(ledger.seed == row.seed) & (ledger.strategy == row.strategy)]
            for column in ("bytes_down", "bytes_up", "samples"):
                assert row[column] == spent[column].sum()
            assert row.seconds == pytest.approx(spent.seconds.sum())
        rows = summary.set_index("strategy").groupby(level=0).first()
        assert rows.client_epochs.to_dict() == {
            "none": 0,
            "retrain": 4 * 3,
            "finetune": 2 * 3,
            "federaser": 1 * 3,
            "fedaccum": 0,
            "subtraction": 0,
        }
        assert rows["rounds"].to_dict() == {
            "none": 0,
            "retrain": 4,
            "finetune": 2,
            "federaser": 2,
            "fedaccum": 1,
            "subtraction": 3,
        }
        assert rows.store_bytes.to_dict() == {
            "none": size,
            "retrain": size,
            "finetune": size,
            "federaser": size * (1 + 2 * 4),
            "fedaccum": size * (1 + 4 * 4),
            "subtraction": size * (1 + 4 * 4),
        }

    def test_training_and_the_reference_run_once_a_seed(self, finished):
        ledger = table(finished, "ledger")
        counted = ledger[ledger.client >= 0].groupby(["seed", "strategy"]).size()
        for seed in (0, 1):
            assert counted[seed, "shared"] == 4 * 4
            assert counted[seed, "retrain"] == 4 * 3

    def test_no_leaver_is_asked_after_the_request(self, finished):
        ledger = table(finished, "ledger")
        assert 1 in set(ledger[ledger.phase == "train"].client)
        assert 1 not in set(ledger[ledger.phase != "train"].client)

    def test_models_load_and_are_the_measured_ones(self, finished):
        here = build_federation(SMALL.scenario(0))
        saved = load_file(finished[0] / "models" / "seed0-retrain-request1.safetensors")
        module = Mlp((16,))((1, 8, 8), 10)
        module.load_state_dict(saved)
        test = here.dataset.test
        right = (module(test.inputs).argmax(1) == test.labels).double().mean()
        summary = table(finished, "summary")
        row = summary[(summary.seed == 0) & (summary.strategy == "retrain")].iloc[0]
        assert row.test_accuracy == pytest.approx(right.item())
        names = sorted(path.stem for path in (finished[0] / "models").glob("*"))
        assert len(names) == 2 * (1 + 6)

    def test_the_manifest_says_what_was_run(self, finished):
        manifest = json.loads((finished[0] / "manifest.json").read_text())
        assert manifest["status"] == "finished"
        assert manifest["seeds"] == [0, 1]
        assert manifest["config"] == {"a": 1}
        assert manifest["versions"]["torch"] == torch.__version__.split("+")[0] or (
            manifest["versions"]["torch"] == torch.__version__
        )
        assert len(set(manifest["split_sha256"].values())) == 2

    def test_clients_are_counted(self, finished):
        clients = table(finished, "clients")
        here = build_federation(SMALL.scenario(1))
        mine = clients[(clients.seed == 1) & (clients.client == 2)]
        assert mine.train.sum() == len(here.train[2])
        assert mine.heldout.sum() == len(here.heldout[2])


def test_two_runs_write_identical_metrics(finished, tmp_path):
    carried_out(SMALL, tmp_path / "again", seeds=(0, 1))
    assert (tmp_path / "again/metrics.csv").read_bytes() == (
        finished[0] / "metrics.csv"
    ).read_bytes()
    before = table(finished, "ledger").drop(columns="seconds")
    after = pd.read_csv(tmp_path / "again/ledger.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(before, after)


def test_clients_on_their_own_threads_give_the_same_bits_on_any_number_of_them(tmp_path):
    for threads in (1, 3):
        engine = Local(workers=threads, mode="workers")
        carried_out(replace(SMALL, engine=engine), tmp_path / str(threads))
    one, three = ((tmp_path / f"{threads}/metrics.csv").read_bytes() for threads in (1, 3))
    assert one == three


def test_one_strategy_alone_gives_the_rows_it_has_in_company(finished, tmp_path):
    alone = replace(SMALL, strategies={"federaser": FedEraser(interval=2)})
    carried_out(alone, tmp_path, seeds=(1,))
    mine = pd.read_csv(tmp_path / "metrics.csv")
    theirs = table(finished, "metrics")
    theirs = theirs[(theirs.seed == 1) & theirs.strategy.isin(set(mine.strategy))]
    assert set(mine.strategy) == {"shared", "retrain", "federaser"}
    pd.testing.assert_frame_equal(mine, theirs.reset_index(drop=True))


def test_nobody_leaves_and_nothing_changes(tmp_path):
    nobody = replace(SMALL, requests=(Request(frozenset(), 4),), planting=Unplanted())
    summary = carried_out(nobody, tmp_path).set_index("strategy")
    assert len(summary) == 6
    assert summary.test_accuracy.nunique() == 1
    assert (summary.test_accuracy_gap == 0).all()
    assert (summary.weight_distance.drop("retrain") == 0).all()
    assert (summary.samples == 0).all()


def test_several_requests_with_training_between_and_recovery(tmp_path):
    waves = replace(
        SMALL,
        requests=(Request(frozenset({2}), 2), Request(frozenset({0, 1}), 3)),
        recovery=Plain(rounds=1),
        strategies={"federaser": FedEraser(interval=1)},
    )
    summary = carried_out(waves, tmp_path)
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert summary.clients.tolist() == ["2", "0+1"] * 2
    phases = metrics[(metrics.strategy == "federaser") & (metrics.metric == "test_accuracy")]
    assert list(zip(phases.request, phases.phase, phases["round"], strict=True)) == [
        (1, "unlearn", 0),
        (1, "unlearn", 1),
        (1, "unlearn", 2),
        (1, "recover", 1),
        (1, "train", 3),
        (2, "unlearn", 0),
        (2, "unlearn", 1),
        (2, "unlearn", 2),
        (2, "unlearn", 3),
        (2, "unlearn", 4),  # the recovery round is part of what the server saw
        (2, "recover", 1),
        (2, "train", 4),
    ]
    ledger = pd.read_csv(tmp_path / "ledger.csv")
    assert set(ledger[ledger.request == 2].client) == {3}
    here = build_federation(waves.scenario(0))
    assert here.scenario.leavers == (2, 0, 1)
    sizes = {c: len(here.train[c]) for c in range(4)}
    retrained = summary[summary.strategy == "retrain"]
    assert (retrained.filter(like="_gap") == 0).all(axis=None)
    row = retrained[retrained.request == 2].iloc[0]
    assert row.client_epochs == 3 + 1  # client 3 alone, three rounds and one of recovery
    assert row.samples == sizes[3] * 4


def test_a_probe_that_does_not_take_is_reported(tmp_path):
    weak = replace(SMALL, planting=Backdoor(share=0.02), strategies={})
    assert set(carried_out(weak, tmp_path / "weak").probe) == {"did not take"}
    clean = replace(SMALL, planting=Unplanted(), strategies={})
    summary = carried_out(clean, tmp_path / "clean")
    assert set(summary.probe) == {""}
    assert "attack_success_rate" not in summary


def test_measuring_less_often_leaves_training_rows_out(tmp_path):
    sparse = replace(SMALL, evaluation=Evaluation(MEASURES, every=3), strategies={})
    carried_out(sparse, tmp_path)
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    trained = metrics[metrics.strategy == "shared"]
    assert set(trained["round"]) == {3, 4}  # the last is always measured


def test_a_crash_leaves_what_was_measured_and_says_so(tmp_path, monkeypatch):
    def break_down(self, request, history, clients):
        yield history.final
        raise RuntimeError("power cut")

    monkeypatch.setattr(FineTune, "unlearn", break_down)
    with pytest.raises(RuntimeError, match="power cut"):
        carried_out(SMALL, tmp_path)
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert {"shared", "retrain", "none", "finetune"} <= set(metrics.strategy)
    assert set(pd.read_csv(tmp_path / "summary.csv").strategy) == {"retrain", "none"}
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "failed"


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"store": InMemory(updates=False)}, "strategy=federaser needs stored updates"),
            ({"proxy": 0}, "strategy=subtraction needs unlabelled records"),
            ({"strategies": {"shared": Nothing()}}, "call the strategy something else"),
            ({"strategies": {"retrain": Nothing()}}, "call the strategy something else"),
            ({"strategies": {"federaser": FedEraser(interval=5)}}, "keeps one round in 5"),
            ({"requests": (Request(frozenset({4}), 4),)}, "has clients 0 to 3"),
        ],
    )
    def test_impossible_experiments(self, change, sentence):
        with pytest.raises(Refused, match=sentence):
            replace(SMALL, **change)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"partition": Dirichlet(clients=4, minimum=900)}, "partition.clients=4"),
            ({"planting": Backdoor(target=10)}, "target"),
            ({"planting": Backdoor(size=9)}, "size"),
            ({"heldout": 1.5}, "heldout must be a number above 0 and at most 0.9"),
        ],
    )
    def test_impossible_data(self, change, sentence, tmp_path):
        with pytest.raises(Refused, match=sentence):
            carried_out(replace(SMALL, **change), tmp_path / "never")
        assert not (tmp_path / "never").exists()

    def test_doubled_seeds(self, tmp_path):
        with pytest.raises(Refused, match="different seeds"):
            carried_out(SMALL, tmp_path, seeds=(1, 1))

    def test_a_disk_on_which_there_is_no_room(self, tmp_path):
        """Of a history of terabytes."""
        endless = replace(
            SMALL,
            model=Mlp((8192,)),
            training=replace(SMALL.training, rounds=10**6),
            store=OnDisk(),
        )
        with pytest.raises(Refused, match="are free on that disk"):
            carried_out(endless, tmp_path / "full")


def test_replaying_server_steps_that_were_no_averages_is_warned_of(tmp_path, caplog):
    odd = replace(
        SMALL,
        training=Training(rounds=2, work=LocalWork(epochs=1), server=FedAvgM()),
        requests=(Request(frozenset({0}), 2),),
        strategies={"fedaccum": FedAccum()},
    )
    carried_out(odd, tmp_path)
    assert "Updates are replayed as plain averages (by fedaccum)" in caplog.text


def test_metrics_are_finite(finished):
    assert np.isfinite(table(finished, "metrics").value).all()
