"""`fedunlearn score` on a run whose models were drawn, not trained, so that the truth is known."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import load_file

from fedunlearn.attacks import Scoring, warnings
from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.evaluators import Snapshot, challenge, confidence
from fedunlearn.experiment import split_hash
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.results import RETRAIN_AGAIN, Case, load
from fedunlearn.simulations import configured, guard, score

SEEDS = range(6)
OVERRIDES = [
    *("dataset=digits", "model=mlp", "model.hidden=[8]", "split=0", "references=2"),
    *("partition.clients=4", "withdrawal.clients=[1]", "seeds=[0,1,2,3,4,5]"),
]


def drawn(network, rng, shift):
    """Return a model near to a fixed one; ``shift`` away from it in every number."""
    middle = network.initial(0)
    noise = torch.from_numpy(rng.normal(0, 0.05, len(middle)).astype(np.float32))
    return middle + noise + shift


def written(folder, strategies, **changes):
    """Write a run with these strategies: how far from retraining they are, and their samples.

    Some of the manifest is ``changes``; a shift of None makes copies of the models before.
    """
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", overrides=OVERRIDES)
        content = configured.content(cfg, {})
        cfg = OmegaConf.create(content)
    experiment = configured.experiment(cfg, cfg.strategies)
    here = build_federation(experiment.scenario(0))
    rng, rows = np.random.default_rng(0), []
    with RunFolder(folder) as run:
        for seed in SEEDS:
            weights = here.network.initial(0)
            for name, (shift, samples) in strategies.items():
                row = {"seed": seed, "strategy": name, "request": 1, "clients": "1", "probe": ""}
                costs = dict.fromkeys(["bytes_down", "bytes_up", "rounds", "store_bytes"], 1)
                costs |= {"client_epochs": 1.0, "seconds": 1.0, "samples": samples}
                costs |= {"scope": "everything"}
                rows.append(row | {"forget_accuracy_gap": 0.0} | costs)
                weights = weights if shift is None else drawn(here.network, rng, shift)
                run.model(Case(seed, name, 1), here.network.layout, weights)
        run.summary(rows)
        hashes = {str(seed): split_hash(here) for seed in SEEDS}
        run.manifest({"status": "finished", "split_sha256": hashes, "config": content} | changes)
    return folder


STRATEGIES = {
    "retrain": (0.0, 1000),
    "near": (0.0, 100),
    "far": (0.4, 100),
    "dear": (0.0, 900),
    "retrain-2": (0.0, 1000),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("score"), STRATEGIES)


@pytest.fixture(scope="module")
def scoring(folder):
    run = load(folder)
    return Scoring(configured.rebuilt(run), run, records=40, replicates=20)


@pytest.fixture(scope="module")
def table(scoring):
    return scoring.table().set_index("strategy")


def test_who_is_scored_on_what(table, scoring):
    assert list(table.index) == [RETRAIN_AGAIN, "near", "far", "dear"]
    assert (table["models"] == 6).all()
    assert (table["records"] == 40).all()
    assert (table["request"] == 1).all()
    assert scoring.models == 6


def test_models_of_one_distribution_are_told_from_those_of_another(table):
    near, far = table.loc["near"], table.loc["far"]
    assert near["relative_low"] <= 1 <= near["relative_high"]
    assert far["relative_high"] < 0.9
    assert far["epsilon_median"] > near["epsilon_median"]
    assert table.loc[RETRAIN_AGAIN, "quality"] == near["ceiling"]
    assert 0 < table.loc[RETRAIN_AGAIN, "tow"] < 1


def test_the_score_is_f_times_utility_within_the_gate(table):
    near = table.loc["near"]
    utility = near["retained_ratio"] * near["test_ratio"]
    assert near["score"] == pytest.approx(near["quality"] * utility)
    assert table["cost_share"].tolist() == [1, 0.1, 0.1, 0.9]
    assert table.loc["dear", "score"] == 0
    assert table.loc["dear", "quality"] > 0


def test_confidences_are_those_of_the_leaver_s_records(scoring, table):
    """F again, from the files and by the library alone, for a run with all records."""
    run = scoring.run
    every = replace(scoring, records=1000, replicates=10).table().set_index("strategy")
    here = build_federation(scoring.experiment.scenario(0))
    held = {"forget": here.train[1]}
    assert every["records"].iloc[0] == len(held["forget"]) > 40

    def asked(name):
        rows = []
        for seed in SEEDS:
            path = run.folder / "models" / f"seed{seed}-{name}-request1.safetensors"
            weights = here.network.layout.flatten(load_file(path))
            logits = Snapshot(here.network, weights, held, here.initial).logits("forget")
            rows.append(confidence(logits.numpy(), held["forget"].labels.numpy()))
        return np.stack(rows)

    expected = challenge.quality(asked("far"), asked("retrain-2"))
    assert every.loc["far", "quality"] == pytest.approx(expected)


def test_the_command_writes_and_prints(folder, monkeypatch, capsys):
    arguments = ["--records", "10", "--replicates", "10", "--gate", "0.05"]
    monkeypatch.setattr(sys, "argv", ["fedunlearn score", str(folder), *arguments])
    score.main()
    said = " ".join(capsys.readouterr().out.split())
    assert "6 models on a side, 10 records of the leaver" in said
    assert "tell only gross failures" in said
    rows = pd.read_csv(folder / "score.csv")
    assert rows["strategy"].tolist() == [RETRAIN_AGAIN, "near", "far", "dear"]
    assert (rows["score"] == 0).all()  # nobody is so fast


def test_a_run_with_one_reference_is_halved(tmp_path):
    some = {"retrain": (0.0, 1000), "copy": (None, 1000), "near": (0.0, 1000)}
    run = load(written(tmp_path, some))
    scoring = Scoring(configured.rebuilt(run), run, records=10, replicates=10)
    table = scoring.table().set_index("strategy")
    assert scoring.models == 3
    assert (table["models"] == 3).all()
    assert np.isnan(table.loc[RETRAIN_AGAIN, "tow"])
    assert table.loc["copy", ["tow", "tow_mia", "retained_ratio"]].tolist() == [1, 1, 1]
    assert table.loc["near", "tow"] < 1
    assert table.loc["near", "tow_mia"] != table.loc["near", "tow"]


@pytest.mark.parametrize(
    ("strategies", "changes", "sentence"),
    [
        (STRATEGIES, {"split_sha256": {"0": "a", "1": "b"}}, "split=0 'seeds="),
        (STRATEGIES, {"split_sha256": {"0": "a"}}, "hash differs from the manifest's"),
        (STRATEGIES, {"status": "failed"}, "is not finished"),
        ({"near": (0.0, 1)}, {}, "no retrained models"),
    ],
)
def test_runs_that_cannot_be_scored_are_refused(tmp_path, strategies, changes, sentence):
    folder = written(tmp_path, strategies, **changes)
    with pytest.raises(Refused, match=sentence):
        Scoring(configured.rebuilt(run := load(folder)), run)


def test_too_few_seeds_are_refused(folder):
    run = load(folder)
    few = replace(run, summary=run.summary[run.summary["seed"] < 2])
    with pytest.raises(Refused, match=r"three models on a side, and the run in .* has 2"):
        Scoring(configured.rebuilt(run), few)


def test_a_missing_model_is_refused(tmp_path):
    run = load(written(tmp_path, STRATEGIES))
    (tmp_path / "models" / "seed3-far-request1.safetensors").unlink()
    with pytest.raises(Refused, match=r"seed3-far-request1\.safetensors cannot be read"):
        Scoring(configured.rebuilt(run), run, records=10, replicates=10).table()


def test_options_out_of_range_are_refused(folder):
    run = load(folder)
    for options, name in (
        ({"gate": 0}, "--gate"),
        ({"records": 1}, "--records"),
        ({"replicates": 9}, "--replicates"),
    ):
        with pytest.raises(Refused, match=f"{name} must be"):
            Scoring(configured.rebuilt(run), run, **options)


def test_a_folder_of_many_divisions_ends_with_a_sentence(tmp_path, monkeypatch, capsys):
    written(tmp_path, STRATEGIES)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["split_sha256"]["5"] = "another"
    del manifest["sha256"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(sys, "argv", ["fedunlearn score", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        score.main()
    assert ended.value.code == 2
    assert "divide the data differently" in capsys.readouterr().err


def test_warnings_name_what_is_missing():
    assert "gross" in warnings(15)[0]
    assert "fitted" in warnings(16)[0]
    assert "fitted" in warnings(63)[0]
    assert warnings(64) == []
