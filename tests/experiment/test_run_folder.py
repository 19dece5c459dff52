import math
import resource
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.files import MARGIN
from fedunlearn.models import Layout
from fedunlearn.results import (
    Asked,
    Case,
    find_runs,
    load,
    read_manifest,
    request_rows,
    run_files,
    write_index,
)
from fedunlearn.results.run_files import load_many
from fedunlearn.unlearning import Charge, Ledger, Moment

LABELS = "seed,client,label,train,heldout\n"
HEAD = "seed,strategy,request,phase,round,metric,value\n"

AWKWARD = {"third": 1 / 3, "tiny": 5e-324, "huge": 1.7976931348623157e308, "sum": 0.1 + 0.2}


def row(seed=0, strategy="finetune", **others):
    return {
        "seed": seed,
        "strategy": strategy,
        "request": 1,
        "clients": "0",
        "probe": "",
        "test_accuracy": 0.9,
        "test_accuracy_gap": -0.01,
        "bytes_down": 10,
        "bytes_up": 8,
        "client_epochs": 2.5,
        "samples": 25,
        "rounds": 2,
        "seconds": 0.25,
        "store_bytes": 4,
        "scope": "everything",
        **others,
    }


def fill(path, strategies=("retrain", "finetune"), values=AWKWARD):
    with RunFolder(path) as folder:
        folder.manifest({"status": "finished"})
        folder.clients(0, ["cat", "dog"], np.array([[3, 0], [1, 2]]), np.array([[1, 0], [0, 1]]))
        folder.metrics(0, "shared", Moment("train", 0, 1), values)
        for strategy in strategies:
            folder.metrics(0, strategy, Moment("unlearn", 1, 0), values)
            charge = Charge(Moment("unlearn", 1, 1), 1, 10, 8, 25, 0.1, 5)
            folder.charges(0, strategy, [charge, charge])
        folder.summary([row(strategy=strategy) for strategy in strategies])
    return path


@contextmanager
def files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_columns_are_those_of_the_contract(tmp_path):
    def header(name):
        return (tmp_path / name).read_text().splitlines()[0]

    fill(tmp_path)
    assert header("metrics.csv") == "seed,strategy,request,phase,round,metric,value"
    assert header("ledger.csv") == (
        "seed,strategy,request,phase,round,client,bytes_down,bytes_up,samples,seconds"
    )
    assert header("clients.csv") == "seed,client,label,train,heldout"
    assert header("summary.csv") == (
        "seed,strategy,request,clients,probe,test_accuracy,test_accuracy_gap,"
        "bytes_down,bytes_up,client_epochs,samples,rounds,seconds,store_bytes,scope"
    )


def test_requests_have_the_columns_of_the_contract(tmp_path):
    asked = [Asked(1, 0, "everything", 2.5, 3)]
    with RunFolder(tmp_path) as folder:
        folder.requests(request_rows([row()], asked, recovery=1))
    assert (tmp_path / "requests.csv").read_text() == (
        "seed,strategy,request,client,scope,arrived,served,waited,queued,unlearning_rounds,"
        "recovery_rounds,rounds_to_forget,begun,finished,verified,decision,released,notes,missed\n"
        "0,finetune,1,0,everything,2.5,3,0.5,0,1,1,2.5,3,5,,approved,5,,\n"
    )


def test_floats_read_back_as_the_same_bits(tmp_path):
    run = load(fill(tmp_path, values={**AWKWARD, "none": math.nan, "blown": math.inf}))
    train = run.metrics[run.metrics.phase == "train"].set_index("metric").value
    assert {name: train[name] for name in AWKWARD} == AWKWARD
    assert math.isnan(train["none"])
    assert train["blown"] == math.inf


def test_plain_pandas_reads_what_load_reads(tmp_path):
    fill(tmp_path)
    plain = pd.read_csv(tmp_path / "metrics.csv")
    pd.testing.assert_frame_equal(plain, load(tmp_path).metrics, check_dtype=False)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two")
    for file in ("metrics.csv", "ledger.csv", "summary.csv", "clients.csv"):
        assert (one / file).read_bytes() == (two / file).read_bytes()


def test_numpy_and_torch_numbers_are_written_as_plain_ones(tmp_path):
    with RunFolder(tmp_path) as folder:
        values = {"a": np.float64(0.1), "b": torch.tensor(0.5), "c": np.float32(0.25), "d": 1}
        folder.metrics(0, "shared", Moment("train", 0, 1), values)
        folder.summary([row(test_accuracy=np.float32(0.5), samples=np.int64(7))])
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[-1] for line in lines[1:]] == ["0.1", "0.5", "0.25", "1.0"]
    assert ",0.5,-0.01,10,8,2.5,7,2,0.25,4" in (tmp_path / "summary.csv").read_text()


def test_rows_are_on_the_disk_before_the_run_ends(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics(3, "shared", Moment("train", 0, 1), {"test_accuracy": 0.5})
    folder.charges(3, "shared", [Charge(Moment("train", 0, 1), -1, 0, 0, 5, 0.5, 5)])
    assert "3,shared,0,train,1,test_accuracy,0.5\n" in (tmp_path / "metrics.csv").read_text()
    assert "3,shared,0,train,1,-1,0,0,5,0.5\n" in (tmp_path / "ledger.csv").read_text()
    folder.close()


def test_the_ledger_file_adds_up_to_the_ledger(tmp_path):
    ledger = Ledger()
    for round_number in range(1, 4):
        ledger.moment = Moment("unlearn", 1, round_number)
        for client in range(3):
            ledger.charge(client, down=40, up=40, samples=client + 1, seconds=0.1, records=8)
    with RunFolder(tmp_path) as folder:
        folder.manifest({})
        folder.charges(0, "finetune", ledger)
    found = load(tmp_path).ledger
    assert found.bytes_down.sum() == ledger.bytes_down
    assert found.samples.sum() == ledger.samples
    assert sum(found.seconds) == ledger.seconds


def test_clients_of_every_seed_are_kept(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.manifest({})
        for seed in (0, 1):
            folder.clients(seed, ["1", "a,b"], np.array([[3, 0], [1, 2]]), np.zeros((2, 2), int))
    clients = load(tmp_path).clients
    assert list(clients.seed.unique()) == [0, 1]
    assert clients.groupby(["client", "label"]).train.sum().to_dict() == {
        (0, "1"): 6,
        (0, "a,b"): 0,
        (1, "1"): 2,
        (1, "a,b"): 4,
    }


def test_summary_puts_metrics_before_gaps_before_costs_and_leaves_gaps_empty(tmp_path):
    late = row(strategy="federaser", membership_auc=0.5, membership_auc_gap=0.0)
    with RunFolder(tmp_path) as folder:
        folder.manifest({})
        folder.summary([row(), late])
    summary = load(tmp_path).summary
    metrics = ["test_accuracy", "membership_auc", "test_accuracy_gap", "membership_auc_gap"]
    costs = [*run_files.COST_COLUMNS, *run_files.SCOPE_COLUMNS]
    assert list(summary) == [*run_files.CASE_COLUMNS, *metrics, *costs]
    assert math.isnan(summary.membership_auc[0])
    assert summary.membership_auc[1] == 0.5


def test_leavers_and_probe_stay_text(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.manifest({})
        folder.summary([row(strategy="null"), row(strategy="none", clients="0+3", probe="took")])
    summary = load(tmp_path).summary
    assert list(summary.strategy) == ["null", "none"]
    assert list(summary.clients) == ["0", "0+3"]
    assert list(summary.probe) == ["", "took"]


def test_a_folder_that_holds_an_older_run_starts_anew(tmp_path):
    fill(tmp_path)
    with RunFolder(tmp_path):
        pass
    run = load(tmp_path)
    assert [len(table) for table in (run.metrics, run.ledger, run.summary, run.clients)] == [0] * 4


def test_a_model_loads_into_its_module_with_a_prefix_of_buffers(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), nn.GroupNorm(1, 2))
    net.register_buffer("scale", torch.tensor([2.0]))
    layout = Layout.of(net)
    weights = torch.arange(layout.size, dtype=torch.float32)
    with RunFolder(tmp_path) as folder:
        path = folder.model(Case(0, "retrain", 1), layout, weights)
    assert path == tmp_path / "models" / "seed0-retrain-request1.safetensors"
    net.load_state_dict(load_file(path))
    assert torch.equal(layout.flatten(net.state_dict()), weights)


def test_a_parent_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"file/run cannot be written: Not a directory"):
        RunFolder(tmp_path / "file" / "run")


def test_a_full_disk_is_refused_before_older_results_are_lost(tmp_path):
    fill(tmp_path)

    def free_on(folder):
        return MARGIN + 999

    with pytest.raises(Refused, match="needs 17 MB, but only 17 MB are free"):
        RunFolder(tmp_path, needed_bytes=1000, free_on=free_on)
    assert len(load(tmp_path).metrics) == 12
    RunFolder(tmp_path, needed_bytes=999, free_on=free_on).close()


def test_a_disk_that_fills_up_during_the_run_is_named(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.manifest({"status": "running"})
        values = {f"metric_{number}": 0.5 for number in range(100)}
        with (
            files_of_at_most(300),
            pytest.raises(Refused, match=r"metrics\.csv cannot be written"),
        ):
            folder.metrics(0, "shared", Moment("train", 0, 1), values)
        with (
            files_of_at_most(300),
            pytest.raises(Refused, match=r"manifest\.json cannot be written"),
        ):
            folder.manifest({"status": "x" * 400})
    assert read_manifest(tmp_path) == {"status": "running"}
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "clients.csv",
        "ledger.csv",
        "manifest.json",
        "metrics.csv",
        "summary.csv",
    ]


@pytest.mark.parametrize("name", ["metrics.csv", "ledger.csv", "summary.csv", "manifest.json"])
def test_a_missing_file_is_named(tmp_path, name):
    (fill(tmp_path) / name).unlink()
    with pytest.raises(Refused, match=name):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("metrics.csv", "seed,strategy\n0,none\n", "has the columns seed, strategy; expected"),
        ("metrics.csv", "", "has the columns ; expected"),
        ("metrics.csv", "seed,strategy,request,phase,round,metric,value,more\n", "expected"),
        ("clients.csv", "seed,client,label,train,heldout\n0,0\n", "cut off: line 2 has 2 of 5"),
        ("clients.csv", "seed,client,label,train,heldout\n0,0,cat,many,0\n", "no number.*many"),
        ("clients.csv", f"{LABELS}0,0,a,1,1\n0,0,b,1,1\n0,1,a,1,1\n", "cut off: it lacks rows"),
        ("clients.csv", f"{LABELS}0,0,a,1,1\n0,0,a,1,1\n", "cut off: it lacks rows"),
        ("summary.csv", "seed,strategy,request,clients,probe\n", "expected"),
        ("manifest.json", "{", "cannot be read as a run's manifest"),
        ("summary.csv", "seed,seed\n", "expected"),
        ("metrics.csv", f"{HEAD}0,x,0,train,{10**20},loss,1\n", "holds what is no number"),
        ("metrics.csv", f"{HEAD}nan,x,0,train,1,loss,1\n", "holds what is no number"),
        ("metrics.csv", f'{HEAD}0,"x,0,train,1,loss,1\n', "is no table"),
    ],
)
def test_a_file_that_is_not_as_written_is_named(tmp_path, name, content, sentence):
    (fill(tmp_path) / name).write_text(content)
    with pytest.raises(Refused, match=sentence) as refused:
        load(tmp_path)
    assert name in str(refused.value)


def test_many_runs_are_told_apart_and_stand_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2):
        fill(tmp_path / "sweep" / str(number))
    with RunFolder(tmp_path / "sweep" / "3") as folder:
        folder.manifest({})
    found = find_runs(tmp_path)
    assert [run.name for run in found] == ["2", "3", "10"]
    many = load_many(found)
    assert list(many.summary["run"]) == ["2", "2", "10", "10"]
    assert list(many.metrics) == ["run", *run_files.METRIC_COLUMNS]
    one = many.metrics[many.metrics["run"] == "10"].drop(columns="run").reset_index(drop=True)
    pd.testing.assert_frame_equal(one, load(found[-1]).metrics)
    assert many.manifest["2"] == {"status": "finished"}


def test_a_run_is_found_as_itself_and_nothing_is_refused(tmp_path):
    fill(tmp_path / "run")
    assert find_runs(tmp_path / "run") == [tmp_path / "run"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="empty holds no run"):
        find_runs(tmp_path / "empty")
    with pytest.raises(Refused, match="no run to load"):
        load_many([])


def test_the_index_has_a_row_for_every_summary_row_and_for_unfinished_runs(tmp_path):
    fill(tmp_path / "0", values={"third": 1 / 3})
    (tmp_path / "0" / ".hydra").mkdir()
    given = "- strategy=none\n- seeds=[0,1]\n- resume=true\n"  # as a run that was gone on with
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text(given)
    with RunFolder(tmp_path / "1"):
        pass
    index = pd.read_csv(write_index(tmp_path))
    summary = load(tmp_path / "0").summary
    assert list(index) == ["run", "overrides", *summary]
    assert list(index["run"]) == [0, 0, 1]
    assert list(index.overrides[:2]) == ["strategy=none seeds=[0,1]"] * 2
    assert list(index.test_accuracy[:2]) == list(summary.test_accuracy)
    assert index.iloc[2].drop("run").isna().all()
