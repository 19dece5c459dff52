"""`fedunlearn attack`: from a finished run's files to attacks.csv and a table."""

import io
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.experiment import run
from fedunlearn.results import ATTACK_COLUMNS, attack_notes, printed_attacks
from fedunlearn.simulations import attack, compare, configured, guard

SMALL = [
    *("model=mlp", "model.hidden=[16]", "partition.clients=4", "training.rounds=3"),
    *("training.work.epochs=2", "strategies=[none,finetune]", "evaluators.every=3"),
    *("dataset._target_=tests.support.world.FewDigits", "~dataset.test_share"),
]
WAVES = ["withdrawal.timeline=[{after: 2, clients: [0]}, {after: 3, clients: [1, 2]}]"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory, monkeypatch):
    """A user's folder that offers the data set: a class that nobody offers is not built."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "conf/dataset").mkdir(parents=True)
    (folder / "conf/dataset/few.yaml").write_text("_target_: tests.support.world.FewDigits\n")
    monkeypatch.chdir(folder)


def finished(folder, *overrides, seeds=(0,)):
    """Run a small comparison into ``folder``."""
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", overrides=[*SMALL, *overrides])
        chosen = compare.strategies(cfg, "federaser")
        experiment = configured.experiment(cfg, chosen)
        run(experiment, seeds, folder, configured.content(cfg, chosen), Console(quiet=True))
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Three seeds that share their data and leavers."""
    return finished(tmp_path_factory.mktemp("shared"), "split=0", seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """Two requests, with a backdoor."""
    return finished(tmp_path_factory.mktemp("waves"), "planting=backdoor", *WAVES)


@pytest.fixture
def copied(shared, tmp_path):
    """A copy to be damaged, that was not attacked yet."""
    ignored = shutil.ignore_patterns("attacks.csv")
    return shutil.copytree(shared, tmp_path / "run", ignore=ignored)


def called(monkeypatch, capsys, *arguments):
    """Call the command; return its code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["fedunlearn attack", *map(str, arguments)])
    code = 0
    try:
        attack.main()
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_run_is_attacked_from_its_files(shared, monkeypatch, capsys):
    code, out, err = called(monkeypatch, capsys, shared, "--shadows", 4)
    assert (code, err) == (0, "")
    found = pd.read_csv(shared / "attacks.csv")
    assert list(found) == list(ATTACK_COLUMNS)
    strategies = {"shared", *pd.read_csv(shared / "summary.csv")["strategy"]}
    assert {"retrain", "none", "finetune"} < strategies
    cases = found.groupby(["seed", "strategy", "request"]).size()
    assert set(cases.index) == {(seed, name, 1) for seed in range(3) for name in strategies}
    assert cases.nunique() == 1  # each model under the same attacks
    # Seeds that share their data share their shadow models.
    assert "Training 8 shadow models" in out
    for heading in ("► retrain", "(before)", "finetune", "U-LiRA", "cannot be resolved with"):
        assert heading in out
    assert "was left out" not in out
    assert "These seeds share their data" in out
    areas = found[(found["statistic"] == "auc")]
    assert areas["value"].between(0, 1).all()
    assert (areas["low"] <= areas["value"]).all()
    assert (areas["value"] <= areas["high"]).all()
    summary = pd.read_csv(shared / "summary.csv")
    loss = areas[(areas["attack"] == "loss") & (areas["level"] == "record")]
    both = loss.merge(summary, on=["seed", "strategy", "request"])
    assert len(both) == len(summary)
    np.testing.assert_allclose(both["value"], both["membership_auc"], rtol=1e-12)
    none, before = (
        found[found["strategy"] == name].drop(columns="strategy").reset_index(drop=True)
        for name in ("none", "shared")
    )
    pd.testing.assert_frame_equal(none, before)


@pytest.mark.slow
def test_the_same_attack_gives_the_same_bytes(shared, monkeypatch, capsys):
    arguments = (shared, "--shadows", 4, "--models", "retrain")
    called(monkeypatch, capsys, *arguments)
    first = (shared / "attacks.csv").read_bytes()
    assert called(monkeypatch, capsys, *arguments)[0] == 0
    assert (shared / "attacks.csv").read_bytes() == first
    assert set(pd.read_csv(shared / "attacks.csv")["strategy"]) == {"retrain"}


@pytest.mark.slow
def test_every_request_is_attacked_for_its_own_leavers(waves, monkeypatch, capsys):
    code, out, _ = called(monkeypatch, capsys, waves, "--shadows", 4)
    assert code == 0
    assert "Training 16 shadow models" in out
    found = pd.read_csv(waves / "attacks.csv")
    assert set(found.loc[found["strategy"] == "shared", "request"]) == {1}
    assert set(found.loc[found["strategy"] == "finetune", "request"]) == {1, 2}
    clients = pd.read_csv(waves / "clients.csv").groupby("client")["train"].sum()
    one = found[(found["attack"] == "lira") & (found["strategy"] == "none")]
    for request, leavers in ((1, [0]), (2, [1, 2])):
        (members,) = set(one.loc[one["request"] == request, "n_members"])
        # poisoned records are not asked for: four in five of nine classes
        assert members == pytest.approx(clients[leavers].sum() * 0.28, rel=0.2)
    means = found[(found["level"] == "client") & (found["attack"] == "loss")]
    assert set(means.loc[means["request"] == 2, "n_members"]) == {2}
    assert "U-LiRA needs three or more seeds" in out
    assert out.count("Membership attacks, request") == 2


@pytest.mark.slow
def test_a_class_is_attacked_in_the_models_of_those_who_stay(tmp_path, monkeypatch, capsys):
    """Shadow models of one request that takes a class from everybody, and of one that follows."""
    several = (
        "withdrawal.timeline=[{after: 2, clients: all, scope: {labels: [7]}}, "
        "{after: 3, clients: [1], scope: {share: 0.5}}]"
    )
    folder = finished(tmp_path / "run", several)
    code, _, err = called(monkeypatch, capsys, folder, "--shadows", 4)
    assert (code, err) == (0, "")
    found = pd.read_csv(folder / "attacks.csv")
    held = pd.read_csv(folder / "clients.csv")
    members = found[found["attack"] == "loss"].groupby("request")["n_members"].max()
    sevens = held["label"] == 7
    assert members[1] == held.loc[sevens, "train"].sum()
    rest = held.loc[~sevens & (held["client"] == 1), "train"].sum()
    assert members[2] == round(0.5 * rest)


@pytest.mark.slow
def test_a_run_that_clients_join_on_the_way_is_refused(tmp_path, monkeypatch, capsys):
    timeline = "withdrawal.timeline=[{after: 1, join: [1]}, {after: 2, clients: [0]}]"
    folder = finished(tmp_path / "run", timeline)
    code, _, err = called(monkeypatch, capsys, folder, "--shadows", 4)
    assert code == 2
    assert "Clients [1] join after round 1 of this run, before request 1" in err


@pytest.mark.slow
def test_several_runs_are_found_below_a_folder(shared, tmp_path, monkeypatch, capsys):
    for name in ("0", "1"):
        shutil.copytree(shared, tmp_path / "multirun" / name)
    arguments = (tmp_path / "multirun", "--shadows", 4, "--models", "none", "retrain")
    code, out, _ = called(monkeypatch, capsys, *arguments)
    assert code == 0
    assert out.count("Written:") == 2


def edited(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest.pop("sha256", None)
    path.write_text(json.dumps(manifest))


def unfinished(folder):
    edited(folder, lambda manifest: manifest.update(status="running"))


def other_data(folder):
    edited(folder, lambda manifest: manifest["split_sha256"].update({"1": "0" * 64}))


def other_split(folder):
    edited(folder, lambda manifest: manifest["config"].update(split=7))


def without_configuration(folder):
    edited(folder, lambda manifest: manifest.pop("config"))


def of_another_version(folder):
    edited(folder, lambda manifest: manifest["config"].pop("partition"))


def without_a_model(folder):
    (folder / "models" / "seed1-finetune-request1.safetensors").unlink()


def with_half_a_model(folder):
    path = folder / "models" / "seed1-finetune-request1.safetensors"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (unfinished, "is not finished (its status is running)"),
        (other_data, "records of seed 1 are not those of the run"),
        (other_split, "records of seed 0 are not those of the run"),
        (without_configuration, "holds no configuration to train again from"),
        (of_another_version, "is not one of this version"),
        (without_a_model, "seed1-finetune-request1.safetensors cannot be read"),
        (with_half_a_model, "seed1-finetune-request1.safetensors is not "),
    ],
)
def test_a_run_that_is_not_whole_is_refused(copied, damage, sentence, monkeypatch, capsys):
    damage(copied)
    code, _, err = called(monkeypatch, capsys, copied)
    assert code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not (copied / "attacks.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--shadows", 5), "--shadows must be even"),
        (("--shadows", 2), "--shadows must be a whole number of at least 4"),
        (("--models", "fintune"), "--models=fintune does not exist; did you mean finetune?"),
    ],
)
def test_what_cannot_be_attacked_is_refused(shared, arguments, sentence, monkeypatch, capsys):
    code, _, err = called(monkeypatch, capsys, shared, *arguments)
    assert code == 2
    assert sentence in err


def test_a_folder_without_a_run_is_refused(tmp_path, monkeypatch, capsys):
    code, _, err = called(monkeypatch, capsys, tmp_path)
    assert code == 2
    assert "holds no run" in err


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["withdrawal.clients=[]"], "Nothing was to be forgotten in the run"),
        (
            ["planting=backdoor", "planting.share=1", "planting.target=0", "partition=shards"],
            "training records that were not poisoned",
        ),
    ],
)
@pytest.mark.slow
def test_requests_that_cannot_be_attacked_are_refused(
    overrides, sentence, tmp_path, monkeypatch, capsys
):
    folder = finished(tmp_path / "run", *overrides)
    code, _, err = called(monkeypatch, capsys, folder, "--shadows", 4)
    assert code == 2
    assert sentence in err


def rows(*values):
    return pd.DataFrame(values, columns=list(ATTACK_COLUMNS))


def test_the_table_shows_intervals_for_one_seed_and_spreads_for_several():
    def row(seed, strategy, value):
        return (seed, strategy, 1, "lira", "record", "auc", value, 0.41, 0.61, 50, 30)

    several = rows(row(0, "mine", 0.6), row(1, "mine", 0.8), row(0, "retrain-2", 0.5))
    for table, cell in ((several, "0.70 ±0.14"), (rows(row(0, "mine", 0.6)), "[0.41, 0.61]")):
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(printed_attacks(table, "1"))
        assert cell in console.export_text()
    console.print(printed_attacks(several, "1"))
    said = console.export_text()
    assert said.index("retrain again") < said.index("mine")
    assert "retrain-2" not in said
    assert any("30 non-members" in note for note in attack_notes(several))
    shared = pd.concat([several, several.assign(attack="u_lira")])
    assert any("may be off by 0.10" in " ".join(note.split()) for note in attack_notes(shared))
    assert not any("may be off by" in note for note in attack_notes(several))
