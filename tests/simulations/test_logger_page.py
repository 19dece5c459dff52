"""docs/loggers.md: every line of it is run, as it stands there but for its size."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/loggers.md").read_text()
LINES = [
    line
    for block in re.findall(r"```\n(.*?)```", PAGE, re.S)
    for line in block.splitlines()
    if line
]
RUNS = [line for line in LINES if line.startswith("fedunlearn ")]
READERS = [line for line in LINES if not line.startswith("fedunlearn ")]
SMALL = ("debug=fast", "seeds=[0]", "strategies=[federaser]")
"""The same run in a few seconds, with a metric of each client beside the metric itself."""

NEEDED = {
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "sqlite": "sqlalchemy",
    "wandb": "wandb",
}
MINE = """
from dataclasses import dataclass
from fedunlearn.experiment.loggers import Silent

@dataclass(frozen=True)
class Mine:
    def start(self, run, settings, *, resumed):
        (run / "mine.txt").write_text("begun")
        return Silent()

    def figures(self, run, files):
        pass
"""


def written(folder, line):
    """Return what the line's own tool finds."""
    (run,) = (path.parent for path in folder.rglob("metrics.csv"))
    if "csv" in line or "jsonl" in line:
        return (run / f"log.{'jsonl' if 'jsonl' in line else 'csv'}").read_text()
    if "tensorboard" in line:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        place = run / "tensorboard/seed0/federaser/request1/unlearn"
        return str(EventAccumulator(str(place)).Reload().Tags()["scalars"])
    if "mlflow" in line:
        uri = f"sqlite:///{folder}/outputs/mlflow.db" if "sqlite" in line else "outputs/mlruns"
        program = (
            "import sys, mlflow; c = mlflow.MlflowClient(sys.argv[1]);"
            "(e,) = c.search_experiments(filter_string=\"name = 'fedunlearn'\");"
            "print([(r.info.run_name, r.data.metrics) for r in c.search_runs([e.experiment_id])])"
        )
        return called([sys.executable, "-c", program, uri], folder, MLFLOW_ALLOW_FILE_STORE="true")
    if "wandb" in line:
        from tests.support.wandb_log import ended

        return str(ended(run))
    return (run / "mine.txt").read_text()


def called(words, folder, **more):
    path = os.pathsep.join([str(folder), *sys.path])
    ran = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **more},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("line", RUNS)
def test_every_run_of_the_page_ends_with_its_numbers_in_the_log(tmp_path, line):
    for word, package in NEEDED.items():
        if word in line:
            pytest.importorskip(package)
    (tmp_path / "my_conf/logger").mkdir(parents=True)
    (tmp_path / "my_conf/logger/mine.yaml").write_text("_target_: my_logger.Mine\n")
    (tmp_path / "my_logger.py").write_text(MINE)
    words = shlex.split(line)[1:]
    called([sys.executable, "-m", "fedunlearn", *words, *SMALL], tmp_path)
    found = written(tmp_path, line)
    assert "mine" in line or re.search(r"retained_accuracy[/.]\d", found)
    (manifest,) = tmp_path.rglob("manifest.json")
    assert json.loads(manifest.read_text())["status"] == "finished"


def test_the_other_lines_are_of_tools_that_read_what_those_leave():
    assert len(RUNS) == 7
    assert {line.split()[0] for line in READERS} == {
        "tensorboard",
        "MLFLOW_ALLOW_FILE_STORE=true",
        "wandb",
        "tail",
    }


def test_every_choice_is_on_the_page():
    choices = {path.stem for path in (ROOT / "conf/logger").glob("*.yaml")}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.M)) == choices


@pytest.mark.skipif(find_spec("wandb") is not None, reason="Weights & Biases is installed")
@pytest.mark.slow
def test_what_is_not_installed_is_a_sentence_with_the_remedy(tmp_path):
    line = [sys.executable, "-m", "fedunlearn", "compare", "logger=wandb"]
    path = os.pathsep.join(sys.path)
    ran = subprocess.run(
        line,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == "logger=wandb needs wandb: pip install 'fedunlearn[wandb]'\n"
    assert list(tmp_path.iterdir()) == []
