"""What another version of fedunlearn made is refused in one sentence that names both."""

import json
import sys

import pytest

from fedunlearn import __version__
from fedunlearn.checks import Refused
from fedunlearn.experiment import Cache, Entry
from fedunlearn.experiment.resume import finished
from fedunlearn.results import load
from fedunlearn.simulations import __main__ as command

SENTENCE = f"was made by fedunlearn 0.1.0, and this is fedunlearn {__version__}: read it with that"
MADE = {"status": "finished", "config": {}, "versions": {"fedunlearn": "0.1.0", "torch": "2"}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(MADE))
    (tmp_path / "metrics.csv").write_text("seed\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["plot", "report", "cost", "attack", "score", "suspects", "verify"]
)
def test_every_command_that_reads_a_run_says_so(name, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fedunlearn", name, str(folder)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"{folder} {SENTENCE}" in said.replace("\n", " ")
    assert said.count("\n") == 1


def test_a_killed_run_is_not_gone_on_with(folder):
    with pytest.raises(Refused, match=SENTENCE):
        finished(folder)


def test_nor_is_it_read_in_a_notebook(folder):
    with pytest.raises(Refused, match=SENTENCE):
        load(folder)


def test_nor_is_the_entry_of_a_cache(tmp_path):
    entry = Entry(tmp_path / "training-1", {"versions": MADE["versions"]})
    with pytest.raises(Refused, match=SENTENCE):
        Cache(tmp_path).verify(entry)


def test_a_run_of_this_version_is_read_on(folder):
    (folder / "manifest.json").write_text(
        json.dumps({**MADE, "versions": {"fedunlearn": __version__}})
    )
    with pytest.raises(Refused, match="has the columns seed"):
        load(folder)
