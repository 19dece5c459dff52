"""Loggers hold what metrics.csv and summary.csv hold, read back by their own libraries."""

import csv
import io
import json
import sys
from dataclasses import dataclass, field, replace
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.evaluators import PerClient, Utility
from fedunlearn.experiment import Evaluation, run
from fedunlearn.experiment.loggers import (
    Lines,
    MlFlow,
    NoLogger,
    Silent,
    TensorBoard,
    WeightsAndBiases,
)
from fedunlearn.experiment.loggers.log import flat, models, numbers, require
from fedunlearn.experiment.loggers.mlflow import key
from fedunlearn.experiment.loggers.round_numbers import RoundNumbers
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.results import load
from fedunlearn.unlearning import Moment, Plain
from tests.support.breaking import WAVES, Breaking
from tests.support.slow import slowly
from tests.support.wandb_log import ended


@dataclass
class Noted(Silent):
    """A log that keeps what it was told."""

    told: list = field(default_factory=list)

    def metrics(self, seed, strategy, moment, values):
        """Keep it."""
        self.told.append((seed, strategy, moment, dict(values)))


def carried_out(experiment, folder, seeds=(0, 1), **how):
    settings, console = {"strategy": {"interval": 2}}, Console(file=io.StringIO())
    return run(experiment, seeds, folder, settings, console, **how)


def broken_off(experiment, folder, measures):
    """Run until the evaluator breaks."""
    breaking = replace(experiment, evaluation=Evaluation((Breaking(measures),)))
    with pytest.raises(InterruptedError):
        carried_out(breaking, folder)


def facts(folder):
    """Return metrics.csv as the rows of a logger: where, metric, global round, value."""
    metrics = pd.read_csv(folder / "metrics.csv", dtype={"value": str})
    rounds = RoundNumbers()
    return sorted(
        (
            *(row.seed, row.strategy, row.request, row.phase, row.metric),
            rounds.number(row.seed, row.strategy, Moment(row.phase, row.request, row.round)),
            float(row.value),
        )
        for row in metrics.itertuples()
    )


class TestRounds:
    def test_curves_go_on_where_the_stage_before_ended(self):
        rounds = RoundNumbers()
        course = [
            *(("shared", "train", 0, n, n) for n in (1, 2, 3)),
            *(("a", "unlearn", 1, n, 3 + n) for n in (0, 1, 2)),
            *(("a", "recover", 1, n, 5 + n) for n in (1, 2)),
            ("a", "unlearn", 1, 2, 5),
            ("a", "recover", 1, 2, 7),
            *(("a", "train", 1, n, 4 + n) for n in (4, 5)),
            *(("a", "unlearn", 2, n, 9 + n) for n in (0, 1)),
            *(("a", "train", 2, n, 5 + n) for n in (6,)),
            ("b", "unlearn", 1, 0, 3),
            ("b", "unlearn", 1, 4, 7),
            ("b", "train", 1, 4, 8),
        ]
        for strategy, phase, request, number, expected in course:
            assert rounds.number(0, strategy, Moment(phase, request, number)) == expected

    def test_seeds_have_nothing_to_do_with_each_other(self):
        rounds = RoundNumbers()
        for seed, last in ((0, 7), (1, 3)):
            rounds.number(seed, "shared", Moment("train", 0, last))
        assert rounds.number(1, "a", Moment("unlearn", 1, 1)) == 4
        assert rounds.number(0, "a", Moment("unlearn", 1, 1)) == 8


class TestFacts:
    def test_rows_are_read_with_a_header_and_without(self):
        header = b"seed,strategy,request,phase,round,metric,value\n"
        rows = b"0,shared,0,train,1,a,0.5\n0,shared,0,train,1,b,\n0,x,1,unlearn,0,a,1.0\n"
        found = [*models(header + rows)]
        assert [(s, name, moment) for s, name, moment, _ in found] == [
            (0, "shared", Moment("train", 0, 1)),
            (0, "x", Moment("unlearn", 1, 0)),
        ]
        assert found[0][3]["a"] == 0.5
        assert np.isnan(found[0][3]["b"])
        assert str([*models(rows)]) == str(found)

    def test_settings_are_flattened(self):
        nested = {"a": {"b": 1, "c": {"d": [2, 3]}}, "e": None, "f": {}}
        assert flat(nested) == {"a.b": "1", "a.c.d": "[2, 3]", "e": "None", "f": "{}"}

    def test_only_numbers_of_a_row_are_taken(self):
        row = {"seed": 1, "request": 2, "clients": "3", "a": 0.5, "n": 4, "gap": float("nan")}
        assert numbers(row) == {"a": 0.5, "n": 4.0}

    def test_a_folder_tells_its_log_what_it_writes(self, tmp_path):
        log = Noted()
        with RunFolder(tmp_path, log=log) as folder:
            folder.metrics(0, "shared", Moment("train", 0, 1), {"a": 0.25})
            kept = folder.sizes
            folder.metrics(0, "shared", Moment("train", 0, 2), {"a": 0.5})
            folder.copied(b"0,x,1,unlearn,0,a,0.75\n", b"", {})
        assert log.told == [
            (0, "shared", Moment("train", 0, 1), {"a": 0.25}),
            (0, "shared", Moment("train", 0, 2), {"a": 0.5}),
            (0, "x", Moment("unlearn", 1, 0), {"a": 0.75}),
        ]
        again = Noted()
        with RunFolder(tmp_path, sizes=kept, log=again) as folder:
            folder.metrics(0, "shared", Moment("train", 0, 2), {"a": 1.0})
        assert again.told == [log.told[0], (0, "shared", Moment("train", 0, 2), {"a": 1.0})]


@pytest.mark.parametrize(
    ("logger", "package", "name"),
    [
        (TensorBoard, "tensorboard", "tensorboard"),
        (MlFlow, "mlflow", "mlflow"),
        (WeightsAndBiases, "wandb", "wandb"),
    ],
)
def test_what_is_not_installed_is_refused_before_training(monkeypatch, logger, package, name):
    asked = []
    monkeypatch.setattr("fedunlearn.experiment.loggers.log.find_spec", asked.append)
    with pytest.raises(Refused, match=rf"{package}: pip install 'fedunlearn\[{name}\]'$"):
        logger()
    assert asked == [package]


def test_a_folder_of_logs_is_no_package(monkeypatch, tmp_path):
    (tmp_path / "logs_of_a_tool").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Refused, match=r"needs logs_of_a_tool: pip install 'fedunlearn\[tool\]'$"):
        require("logs_of_a_tool", "tool")


@pytest.mark.parametrize("value", [{"uri": ""}, {"experiment": ""}], ids=str)
def test_mlflow_s_names_are_checked(value):
    pytest.importorskip("mlflow")
    with pytest.raises(Refused, match=f"MlFlow.{next(iter(value))} must not be empty"):
        MlFlow(**value)


def test_without_a_logger_nothing_is_added_to_the_folder(tmp_path):
    carried_out(replace(WAVES, logger=NoLogger()), tmp_path, [0])
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == {"models"}  # no certificates: the model retrained so briefly is none


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was logged to TensorBoard, and its summary."""
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("run")
    return folder, carried_out(replace(WAVES, logger=TensorBoard()), folder)


class TestLines:
    def rows(self, folder, kind):
        """Return the lines as `facts` has them, and the summary's apart."""
        text = (folder / f"log.{kind}").read_text()
        if kind == "csv":
            lines = list(csv.DictReader(io.StringIO(text)))
        else:
            lines = [json.loads(line) for line in text.splitlines()]
        names = ("seed", "strategy", "request", "phase", "metric", "global_round", "value")
        kinds = (int, str, int, str, str, int, float)
        metrics = [
            tuple(kind(line[name]) for kind, name in zip(kinds, names, strict=True))
            for line in lines
            if line["phase"] != "summary"
        ]
        assert {line["run"] for line in lines} == {f"{folder.parent.name}/{folder.name}"}
        return sorted(metrics), [line for line in lines if line["phase"] == "summary"]

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_they_hold_the_facts_whether_or_not_the_run_was_killed(self, tmp_path, kind):
        logged = replace(WAVES, logger=Lines(kind))
        broken_off(logged, tmp_path, 9)
        before, _ = self.rows(tmp_path, kind)
        assert before == facts(tmp_path)
        summary = carried_out(logged, tmp_path, resume=True)
        metrics, totals = self.rows(tmp_path, kind)
        assert metrics == facts(tmp_path)
        assert len(metrics) > len(before)
        values = {
            (int(line["seed"]), line["strategy"], int(line["request"]), line["metric"]): line
            for line in totals
        }
        assert len(values) == len(totals)
        for row in summary.itertuples():
            line = values[row.seed, row.strategy, row.request, "test_accuracy_gap"]
            assert float(line["value"]) == row.test_accuracy_gap
            assert line["round"] in ("", None)

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_every_line_is_there_as_soon_as_its_model_is(self, tmp_path, kind):
        with Lines(kind).start(tmp_path, {}, resumed=False) as log:
            first = 2 if kind == "csv" else 1
            for number in range(1, 4):
                values = {"a": 0.1 * number, "b": float("nan"), "c/1": float("inf")}
                log.metrics(0, 'a "b", c', Moment("train", 0, number), values)
                lines = (tmp_path / f"log.{kind}").read_text().splitlines()
                assert len(lines) == first - 1 + 2 * number
            if kind == "jsonl":
                strict = {"parse_constant": lambda word: pytest.fail(f"{word} is no JSON")}
                assert [json.loads(line, **strict) for line in lines[-2:]] == [
                    self.line(metric="a", value=0.1 * 3),
                    self.line(metric="c/1", value="inf"),
                ]

    def line(self, **more):
        when = {"request": 0, "phase": "train", "round": 3, "global_round": 3}
        return {"seed": 0, "strategy": 'a "b", c', **when, **more} | {"run": more.get("run", ANY)}

    def test_another_format_is_refused(self):
        with pytest.raises(Refused, match=r"Lines\.format=xml does not exist"):
            Lines("xml")


class TestWeightsAndBiases:
    @pytest.fixture(autouse=True)
    def wandb(self):
        return pytest.importorskip("wandb")

    def agree(self, folder):
        found = []
        for name, run_ in ended(folder).items():
            if name == "figures":
                continue
            where = (run_.config["seed"], run_.config["strategy"])
            assert name == f"{where[1]}, seed {where[0]}"
            assert run_.group == f"{folder.parent.name}/{folder.name}"
            for values in run_.history:
                step = values.pop("global_round")
                for metric, value in values.items():
                    request, phase, short = metric.split("/", 2)
                    number = int(request.removeprefix("request"))
                    found.append((*where, number, phase, short, step, value))
        assert sorted(found) == facts(folder)

    @pytest.mark.slow
    def test_it_holds_the_facts_whether_or_not_the_run_was_killed(self, tmp_path):
        logged = replace(WAVES, logger=WeightsAndBiases())
        folder = tmp_path / "outputs" / "mine"
        broken_off(logged, folder, 9)
        ids = {path.name for path in folder.glob("wandb/*/*.wandb")}
        assert {run_.exit_code for run_ in ended(folder).values()} == {1}
        self.agree(folder)
        summary = carried_out(logged, folder, resume=True)
        self.agree(folder)
        assert ids < {path.name for path in folder.glob("wandb/*/*.wandb")}
        runs = ended(folder)
        assert {run_.exit_code for run_ in runs.values()} == {0}
        for row in summary.itertuples():
            held = runs[f"{row.strategy}, seed {row.seed}"]
            assert held.config["strategy.interval"] == "2"
            for name in ("test_accuracy_gap", "bytes_up"):
                assert held.summary[f"request{row.request}/summary/{name}"] == getattr(row, name)
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(folder / "cost.png")
        for _ in range(2):
            WeightsAndBiases().figures(folder, [folder / "cost.png", folder / "cost.svg"])
        (drawn,) = ended(folder)["figures"].history
        assert drawn["cost/_type"] == "image-file"

    def test_a_folder_that_was_not_logged_gets_no_figures(self, tmp_path):
        WeightsAndBiases().figures(tmp_path, [tmp_path / "cost.png"])
        assert list(tmp_path.iterdir()) == []

    def test_a_project_has_a_name(self):
        with pytest.raises(Refused, match=r"WeightsAndBiases\.project must not be empty"):
            WeightsAndBiases(project="")


def test_no_tool_is_loaded_that_was_not_chosen(tmp_path):
    loaded = sys.modules.keys() & {"wandb", "mlflow", "tensorboard"}
    carried_out(replace(WAVES, logger=Lines(), recovery=Plain(rounds=1)), tmp_path, [0])
    assert sys.modules.keys() & {"wandb", "mlflow", "tensorboard"} == loaded


@pytest.fixture
def client():
    """MLflow's own reader of a store."""
    return pytest.importorskip("mlflow").MlflowClient


class TestTensorBoard:
    def scalars(self, folder):
        """Return all scalars: folder, tag, step, value."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = []
        for place in {path.parent for path in folder.rglob("events.*")}:
            events = EventAccumulator(str(place)).Reload()
            where = place.relative_to(folder).as_posix()
            for tag in events.Tags()["scalars"]:
                found += [(where, tag, event.step, event.value) for event in events.Scalars(tag)]
        return sorted(found)

    def curves(self, folder):
        """Return the scalars of metrics as `facts` has them."""
        found = []
        for where, tag, step, value in self.scalars(folder / "tensorboard"):
            if not where.endswith("summary"):
                seed, strategy, request, phase = where.split("/")
                number = int(request.removeprefix("request"))
                found.append((int(seed[4:]), strategy, number, phase, tag, step, value))
        return sorted(found)

    def agree(self, folder):
        expected, found = facts(folder), self.curves(folder)
        assert [row[:-1] for row in found] == [row[:-1] for row in expected]
        np.testing.assert_array_equal(
            [row[-1] for row in found], np.float32([row[-1] for row in expected])
        )

    def test_it_holds_every_row_of_metrics_csv_once(self, finished):
        folder, _ = finished
        assert len(facts(folder)) > 100
        self.agree(folder)

    def test_and_the_summary_s_numbers_over_requests(self, finished):
        folder, summary = finished
        found = pd.DataFrame(
            [row for row in self.scalars(folder / "tensorboard") if row[0].endswith("summary")],
            columns=["where", "tag", "request", "value"],
        ).set_index(["where", "tag", "request"])["value"]
        for row in summary.itertuples():
            place = f"seed{row.seed}/{row.strategy}/summary"
            for name in ("test_accuracy", "test_accuracy_gap", "bytes_up", "seconds"):
                value = np.float32(getattr(row, name))
                assert found[place, f"summary/{name}", row.request] == value
        assert not found.index.duplicated().any()

    def test_the_settings_and_the_figures_are_in_it(self, finished):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        folder, _ = finished
        events = EventAccumulator(str(folder / "tensorboard")).Reload()
        (text,) = events.Tensors("settings/text_summary")
        assert b'"interval": 2' in text.tensor_proto.string_val[0]
        pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
        Image.fromarray(pixels).save(folder / "cost.png")
        for _ in range(2):  # drawn twice, and in it once
            TensorBoard().figures(folder, [folder / "cost.png", folder / "cost.svg"])
        events = EventAccumulator(str(folder / "tensorboard/figures")).Reload()
        assert events.Tags()["images"] == ["cost"]
        (image,) = events.Images("cost")
        shown = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
        np.testing.assert_array_equal(shown, pixels)

    @pytest.mark.parametrize("measures", [9, *slowly(1, 24)])
    def test_a_run_that_goes_on_is_in_it_once(self, finished, tmp_path, measures):
        logged = replace(WAVES, logger=TensorBoard())
        broken_off(logged, tmp_path, measures)
        carried_out(logged, tmp_path, resume=True)
        self.agree(tmp_path)
        assert self.curves(tmp_path) == self.curves(finished[0])

    def test_rows_from_a_cache_are_in_it(self, tmp_path):
        pytest.importorskip("tensorboard")
        shared = replace(WAVES, logger=TensorBoard(), cache=tmp_path / "cache")
        for name in ("first", "second"):
            carried_out(shared, tmp_path / name, [0])
            self.agree(tmp_path / name)
        assert self.curves(tmp_path / "first") == self.curves(tmp_path / "second")


class TestMlFlow:
    def runs(self, client, uri):
        """Return the runs that are not deleted, by name."""
        (group,) = client.search_experiments(filter_string="name = 'fedunlearn'")
        found = client.search_runs([group.experiment_id])
        assert len({run.info.run_name for run in found}) == len(found)
        return {run.info.run_name: run for run in found}

    def agree(self, client, uri, folder):
        found = []
        for run_ in self.runs(client, uri).values():
            if "seed" not in run_.data.tags:
                continue
            seed, strategy = int(run_.data.tags["seed"]), run_.data.tags["strategy"]
            for name in run_.data.metrics:
                request, phase, metric = name.split("/")
                if phase != "summary":
                    number = int(request.removeprefix("request"))
                    found += [
                        (seed, strategy, number, phase, metric, point.step, point.value)
                        for point in client.get_metric_history(run_.info.run_id, name)
                    ]
        assert sorted(found) == facts(folder)

    @pytest.mark.slow
    def test_it_holds_the_facts_whether_or_not_the_run_was_killed(self, client, tmp_path):
        uri = str(tmp_path / "mlruns")
        logged = replace(WAVES, logger=MlFlow(uri))
        folder = tmp_path / "outputs" / "mine"
        broken_off(logged, folder, 9)
        statuses = [run_.info.status for run_ in self.runs(client(uri), uri).values()]
        assert statuses
        assert set(statuses) == {"FAILED"}
        summary = carried_out(logged, folder, resume=True)
        there = client(uri)
        runs = self.runs(there, uri)
        assert set(runs) == {
            "outputs/mine",
            *(f"{name}, seed {s}" for s in (0, 1) for name in ("shared", "retrain", "fedaccum")),
        }
        assert {run_.info.status for run_ in runs.values()} == {"FINISHED"}
        assert all(run_.data.params["strategy.interval"] == "2" for run_ in runs.values())
        parent = runs["outputs/mine"].info.run_id
        below = [run_ for name, run_ in runs.items() if name != "outputs/mine"]
        assert {run_.data.tags["mlflow.parentRunId"] for run_ in below} == {parent}
        self.agree(there, uri, folder)
        for row in summary.itertuples():
            data = runs[f"{row.strategy}, seed {row.seed}"].data.metrics
            for name in ("test_accuracy_gap", "bytes_up"):
                assert data[f"request{row.request}/summary/{name}"] == getattr(row, name)
        drawn = folder / "cost.png"
        drawn.write_bytes(b"a figure")
        for _ in range(2):
            MlFlow(uri).figures(folder, [drawn])
        assert [file.path for file in there.list_artifacts(parent, "figures")] == [
            "figures/cost.png"
        ]

    def test_a_metric_of_each_client_stands_beside_the_metric_itself(self, client, tmp_path):
        uri = str(tmp_path / "mlruns")
        settings = {"a": {"b(c=1)": 1, "b/c": 2, "b": {"d%": 3}}}
        values = {"kept": 0.5, "kept/1": 0.25, "kept/2": 0.75, "layers/a.b/1": 1.0, "odd (%)": 2.0}
        with MlFlow(uri).start(tmp_path / "run", settings, resumed=False) as log:
            log.metrics(0, "puf(eta=20)", Moment("unlearn", 1, 3), values)
            log.summary([{"seed": 0, "strategy": "puf(eta=20)", "request": 1, **values}])
        logged = self.runs(client(uri), uri)["puf(eta=20), seed 0"].data
        expected = {"kept": 0.5, "kept.1": 0.25, "kept.2": 0.75, "layers.a.b.1": 1.0}
        expected["odd ___"] = 2.0
        assert logged.metrics == {
            f"request1/{part}/{name}": value
            for part in ("unlearn", "summary")
            for name, value in expected.items()
        }
        assert logged.params == {"a.b_c_1_": "1", "a.b.c": "2", "a.b.d_": "3"}

    def test_every_metric_of_a_run_has_a_name_in_every_store(self, client, tmp_path):
        logged = replace(
            WAVES,
            logger=MlFlow(str(tmp_path / "mlruns")),
            evaluation=Evaluation((Utility(), PerClient())),
            requests=WAVES.requests[:1],
            recovery=Plain(rounds=1),
        )
        carried_out(logged, tmp_path / "run", [0])
        metrics = set(load(tmp_path / "run").metrics["metric"])
        assert any("/" in name for name in metrics)
        assert len({key(name) for name in metrics}) == len(metrics)

    @pytest.mark.filterwarnings("ignore")  # SQLAlchemy's, of MLflow's own code
    def test_a_database_is_a_store(self, client, tmp_path):
        pytest.importorskip("sqlalchemy")
        pytest.importorskip("alembic")
        uri = f"sqlite:///{tmp_path}/outputs/mlflow.db"
        with MlFlow(uri).start(tmp_path / "run", {"a": 1}, resumed=False) as log:
            log.metrics(0, "puf", Moment("unlearn", 1, 3), {"kept": 0.5, "kept/1": 0.25})
        logged = self.runs(client(uri), uri)["puf, seed 0"].data
        assert logged.metrics == {"request1/unlearn/kept": 0.5, "request1/unlearn/kept.1": 0.25}

    def test_a_store_that_is_none_is_a_sentence(self, client, tmp_path):
        with pytest.raises(Refused, match=r"logger\.uri=.* cannot be used as a store .* Name a"):
            MlFlow("nowhere://store").start(tmp_path, {}, resumed=False)

    @pytest.mark.slow
    def test_another_run_in_the_folder_leaves_the_first_in_the_store(self, client, tmp_path):
        uri = f"file://{tmp_path / 'mlruns'}"
        logged = replace(WAVES, logger=MlFlow(uri, "mine"), recovery=Plain(rounds=1))
        for _ in range(2):
            carried_out(logged, tmp_path / "run", [0], overwrite=True)
        there = client(uri)
        (group,) = there.search_experiments(filter_string="name = 'mine'")
        names = [run_.info.run_name for run_ in there.search_runs([group.experiment_id])]
        assert sorted(names) == sorted(2 * sorted(set(names)))
        assert len(names) == 2 * 4

    def test_a_folder_that_was_not_logged_gets_no_figures(self, client, tmp_path):
        uri = str(tmp_path / "mlruns")
        MlFlow(uri).figures(tmp_path, [tmp_path / "cost.png"])
        assert client(uri).search_experiments(filter_string="name = 'fedunlearn'") == []
