"""`fedunlearn difficulty`: of a configuration and of a finished run, with planted wrong labels."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.data import build_federation, fingerprints
from fedunlearn.experiment import run
from fedunlearn.results import (
    DIFFICULTY_COLUMNS,
    PROXY_COLUMNS,
    PROXY_NAMES,
    difficulty_notes,
    plots,
    printed_difficulty,
    printed_proxies,
)
from fedunlearn.simulations import compare, configured, difficulty, guard
from tests.support.terminal_text import text

SMALL = [
    *("model=mlp", "model.hidden=[16]", "partition.clients=4", "training.rounds=2"),
    *("training.work.epochs=1", "training.work.batch_size=64"),
    *("dataset._target_=tests.support.world.FewDigits", "~dataset.test_share"),
]
FILES = ("difficulty.csv", "difficulty_proxies.csv", "difficulty_records.csv", "entanglement.csv")
MEMORISING = [
    *("model=mlp", "model.hidden=[128]", "partition=dirichlet", "partition.alpha=0.5"),
    *("partition.clients=5", "heldout=0.5", "training.rounds=40", "training.work.epochs=3"),
    *("training.work.batch_size=8", "training.work.optimizer.lr=0.1", "planting=label_noise"),
    *("planting.share=0.1", "withdrawal=planted", "withdrawal.clients=[0,1,2,3,4]"),
]
"""Few records, small batches, a wide net: a federation that learns wrong labels by heart."""


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory, monkeypatch):
    """A user's folder that offers the data set: a class that nobody offers is not built."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "conf/dataset").mkdir(parents=True)
    (folder / "conf/dataset/few.yaml").write_text("_target_: tests.support.world.FewDigits\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small comparison."""
    folder = tmp_path_factory.mktemp("finished")
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", overrides=[*SMALL, "strategies=[none]"])
        chosen = compare.strategies(cfg, "federaser")
        made = configured.experiment(cfg, chosen)
        run(made, (3,), folder, configured.content(cfg, chosen), Console(quiet=True))
    return folder


def called(monkeypatch, capsys, *arguments):
    """Call the command; return its code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["fedunlearn difficulty", *map(str, arguments)])
    code = 0
    try:
        difficulty.main()
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


def tables(folder):
    return [pd.read_csv(folder / name) for name in FILES]


def test_of_a_run_every_client_has_a_row(finished, monkeypatch, capsys):
    code, out, err = called(monkeypatch, capsys, finished, "--models", 8, "--left-out", 2)
    assert (code, err) == (0, "")
    clients, proxies, records, pairs = tables(finished)
    assert list(clients) == list(DIFFICULTY_COLUMNS)
    assert list(proxies) == list(PROXY_COLUMNS)
    held = pd.read_csv(finished / "clients.csv").groupby("client")["train"].sum()
    assert clients["client"].tolist() == [0, 1, 2, 3]
    assert clients["records"].tolist() == held.tolist()
    assert clients.drop(columns="planted").notna().all(axis=None)
    assert proxies["measure"].tolist() == ["record_memorization", *PROXY_NAMES]
    assert len(records) == held.sum()
    for name in PROXY_NAMES:
        means = records.groupby("client")[name].mean()
        np.testing.assert_allclose(clients[name], means)
    assert pairs[["client", "other"]].to_numpy().tolist() == [
        [0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3],
    ]  # fmt: skip
    assert "Training 31 models" in out  # 2 banks of 8, and everybody and 4 clients: 3 times
    for part in ("Difficulty of 4 clients", "Left out", "(a perfect one)", "loss curvature"):
        assert part in out
    assert max(map(len, (line for line in out.splitlines() if "Written" not in line))) <= 100
    listed = json.loads((finished / "derived.json").read_text())
    assert {*FILES, "figures/difficulty.svg", "figures/difficulty.png"} <= set(listed)


def test_the_same_question_gives_the_same_bytes(finished, monkeypatch, capsys):
    called(monkeypatch, capsys, finished, "--models", 8)
    first = [(finished / name).read_bytes() for name in FILES]
    assert called(monkeypatch, capsys, finished, "--models", 8)[0] == 0
    assert [(finished / name).read_bytes() for name in FILES] == first


def test_a_request_may_be_about_the_hardest_records(finished, monkeypatch, capsys):
    """The table of a run names records as its requests find them, whatever the seed."""
    assert called(monkeypatch, capsys, finished, "--models", 8)[0] == 0
    table = finished / "difficulty_records.csv"
    scores = pd.read_csv(table).set_index("fingerprint")["memorization"]
    scope = f"{{_target_: fedunlearn.data.Hardest, table: '{table}', share: 0.25}}"
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", overrides=[*SMALL, f"withdrawal.scope={scope}"])
        made = configured.experiment(cfg, {})
    here = build_federation(made.scenario(3))
    ((client, cut),) = here.holdings.erased(1).items()
    gone, kept = (fingerprints(here.train[client].take(mask)) for mask in (cut, ~cut))
    assert len(gone) == round(0.25 * len(cut))
    assert min(scores[gone]) >= max(scores[kept])


def test_of_a_configuration_it_is_written_to_a_folder_of_its_own(own_folder, monkeypatch, capsys):
    code, out, err = called(monkeypatch, capsys, *SMALL, "--models", 8)
    assert (code, err) == (0, "")
    (folder,) = (own_folder / "outputs/difficulty").iterdir()
    clients, proxies, *_ = tables(folder)
    assert clients["left_out"].isna().all()
    assert proxies["planted_auc"].isna().all()
    assert "AUC" not in out
    assert "Confidence" in out
    assert str(folder.relative_to(own_folder) / "difficulty.csv") in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "nowhere holds no run"),
        (("nowhere", "model=mlp"), "folders of runs or one configuration, not nowhere and model"),
        (("model=mlp", "--models", "4"), "--models must be a whole number of at least 8"),
        (("model=mlp", "--share", "1"), "--share must be a number at least 0.1 and at most 0.9"),
        (("model=mlp", "--left-out", "-1"), "--left-out must be a whole number of at least 0"),
        (("model=mpl",), "model=mpl does not exist; did you mean mlp?"),
        (("strategies=[none]",), "difficulty does not heed strategies=[none]"),
        (("training=feddyn",), "know no training.correction"),
        (("partition.clients=1", "withdrawal.clients=[]"), "Only one client takes part"),
        (
            ("partition.clients=40", "--models", "8", "--share", "0.9"),
            "Raise --models, or choose a --share nearer to 0.5",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_training(arguments, sentence, monkeypatch, capsys):
    def never(*parts):
        raise AssertionError("trained")

    monkeypatch.setattr(difficulty.attacks.Difficulty, "found", never)
    code, out, err = called(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_a_run_whose_data_are_others_now_is_refused(finished, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["split_sha256"]["3"] = "0" * 64
    manifest.pop("sha256", None)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = called(monkeypatch, capsys, folder)
    assert code == 2
    assert "The records of seed 3 are not those of the run" in err


def rows(count, **columns):
    """Rows of difficulty.csv whose numbers are all the same, but for ``columns``."""
    usual = dict.fromkeys(DIFFICULTY_COLUMNS, [0.5] * count)
    return pd.DataFrame({**usual, "client": range(count), **columns}).astype(DIFFICULTY_COLUMNS)


def of_proxies(sizes):
    usual = dict.fromkeys(PROXY_COLUMNS, [0.5] * (1 + len(sizes)))
    names = ["record_memorization", *PROXY_NAMES][: 1 + len(sizes)]
    return pd.DataFrame(
        {**usual, "measure": names, "sign": [1, -1, -1, -1, -1, 1, 1][: 1 + len(sizes)],
         "spearman": [0.9, *sizes], "low": [np.nan, *(s - 0.1 for s in sizes)],
         "high": [np.nan, *(s + 0.1 for s in sizes)]}
    ).astype(PROXY_COLUMNS)  # fmt: skip


def test_the_hardest_come_first_and_no_more_than_one_screen_of_them():
    clients = rows(40, memorization=np.linspace(0, 1, 40), left_out=[np.nan] * 40)
    said = text(printed_difficulty(clients))
    assert said.index("\n39 ") < said.index("\n38 ") < said.index("\n15 ")
    assert "\n14 " not in said
    notes = list(difficulty_notes(clients, of_proxies([0.1] * 6)))
    assert any("15 less memorised clients are in difficulty.csv only" in note for note in notes)


def test_what_there_is_not_is_said():
    clients = rows(3, entanglement=[np.nan] * 3, curvature=[np.nan] * 3)
    notes = " ".join(difficulty_notes(clients, of_proxies([0.1])))
    assert "entanglement was left out" in notes
    assert "no loss curvature" in notes


def test_bars_are_turned_to_the_sign_that_a_proxy_should_have():
    """A proxy that points the wrong way is a bar to the left, not a long one."""
    proxies = of_proxies([-0.6, 0.2, -0.4, -0.3, 0.5, -0.1])
    figure = plots.difficulty(rows(5, memorization=np.linspace(0, 1, 5)), proxies)
    bars = {
        label.get_text(): bar.get_width()
        for label, bar in zip(figure.axes[1].get_yticklabels(), figure.axes[1].patches, strict=True)
    }
    assert bars["confidence"] == pytest.approx(0.6)
    assert bars["largest confidence"] == pytest.approx(-0.2)
    assert bars["holdout retraining"] == pytest.approx(0.5)
    assert bars["loss curvature"] == pytest.approx(-0.1)
    assert "(a perfect one)" in text(printed_proxies(proxies))


@pytest.mark.slow
def test_wrong_labels_are_memorised_and_confidence_knows_it(own_folder, monkeypatch, capsys):
    """Digits with a tenth of the labels wrong, of each of five clients."""
    code, _, err = called(monkeypatch, capsys, *MEMORISING, "--models", 32)
    assert (code, err) == (0, "")
    (folder,) = (own_folder / "outputs/difficulty").iterdir()
    clients, proxies, records, _ = tables(folder)
    found = proxies.set_index("measure")
    assert found.loc["record_memorization", "planted_auc"] >= 0.9
    assert found.loc["confidence", "spearman"] <= -0.5
    signed = found["sign"] * found["spearman"]
    assert (signed > 0.3).all()
    assert (found["planted_auc"] > 0.7).all()
    by_kind = records.groupby("planted")["memorization"].mean()
    assert by_kind[True] > by_kind[False] + 0.3
    assert clients["planted"].sum() == records["planted"].sum() > 50
