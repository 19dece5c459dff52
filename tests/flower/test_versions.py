"""The range of Flower's versions: what pyproject.toml allows is what the docs state."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_installed_flower_and_the_newest_pinned_one_lie_in_the_range_that_the_docs_state():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = (each for each in project["dependencies"] if each.startswith("flwr["))
    first, beyond = re.fullmatch(r"flwr\[simulation\]>=1\.(\d+),<1\.(\d+)", wanted).groups()
    allowed = [f"1.{minor}" for minor in range(int(first), int(beyond))]
    assert version("flwr").rpartition(".")[0] in allowed
    (pinned,) = re.findall(r"^flwr==(1\.\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned == allowed[-1]
    page = (ROOT / "docs" / "flower.md").read_text()
    assert f"Flower {' and '.join(allowed)}" in page
