import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from uv import find_uv_bin

import fedunlearn
import strategies
from fedunlearn import conf, simulations
from fedunlearn.simulations import __main__ as command

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SUPPORTED = ("3.11", "3.12", "3.13")


def pins():
    return [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("package", [conf, simulations, strategies], ids=lambda p: p.__name__)
def test_the_packages_lie_side_by_side(package):
    # their names are common ones: a stranger's package of that name must not pass for ours
    assert Path(next(iter(package.__path__))).parent == Path(fedunlearn.__file__).parents[1]


def test_the_version_and_the_licence_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert version("fedunlearn") == fedunlearn.__version__ == citation["version"]
    assert PROJECT["license"] == citation["license"]


def test_every_strategy_has_a_yaml_of_its_name_and_the_reverse():
    files = {file.stem for file in (ROOT / "strategies").glob("*.py")} - {"__init__"}
    choices = {file.stem: file.read_text() for file in (ROOT / "conf" / "strategy").glob("*.yaml")}
    named = {
        name: re.search(r"^_target_: strategies\.(\w+)\.", choices[name], re.M) for name in choices
    }
    assert files <= choices.keys()
    # Compositions of a strategy's parts have a YAML alone.
    composed = {named[name][1] for name in choices.keys() - files}
    assert composed == {"destroy_repair", "random_label", "sga"}
    assert all(named[name][1] == name for name in files)


def test_a_command_is_a_file_with_a_main_and_a_row_of_the_table():
    folder = Path(simulations.__file__).parent
    shown = command.usage()
    for name, sentence in command.COMMANDS.items():
        body = ast.parse((folder / f"{name.replace('-', '_')}.py").read_text()).body
        assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in body)
        assert f"  {name:<12} {sentence}\n" in shown
        assert len(f"  {name:<12} {sentence}") <= 100


def test_supported_pythons_are_declared():
    prefix = "Programming Language :: Python :: "
    declared = {c.removeprefix(prefix) for c in PROJECT["classifiers"] if c.startswith(prefix)}
    assert declared == set(SUPPORTED)
    assert PROJECT["requires-python"] == f">={SUPPORTED[0]}"


def test_pins_name_versions_and_nothing_else():
    plain = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [a-z_0-9.<>=!'() -]+)?", re.IGNORECASE)
    assert [line for line in pins() if not plain.fullmatch(line)] == []


@pytest.mark.parametrize("python", SUPPORTED)
def test_every_dependency_has_one_pin_that_satisfies_it(python):
    linux = {"python_version": python, "python_full_version": f"{python}.0", "extra": "",
             "sys_platform": "linux", "os_name": "posix"}  # fmt: skip
    pinned = [Requirement(line) for line in pins()]
    held = [pin for pin in pinned if pin.marker is None or pin.marker.evaluate(linux)]
    lines = sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])
    for wanted in map(Requirement, lines):
        (pin,) = [pin for pin in held if pin.name == wanted.name.lower()]
        (exact,) = pin.specifier
        assert wanted.specifier.contains(exact.version), (wanted, pin)


def run(*command, cwd):
    inherited = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=inherited, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = ("build", "--wheel", "--build-constraints", CONSTRAINTS, "--out-dir", folder)
    run(find_uv_bin(), *build, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    uv = find_uv_bin()
    run(uv, "venv", "--python", sys.executable, "venv", cwd=folder)
    install = ("pip", "install", "--python", "venv/bin/python", "--constraints", CONSTRAINTS)
    run(uv, *install, "--build-constraints", CONSTRAINTS, wheel, cwd=folder)
    yield folder
    shutil.rmtree(folder / "venv")  # gigabytes, and pytest keeps the folders of its last runs


@pytest.mark.slow
def test_the_wheel_carries_the_packages_with_their_yamls_and_nothing_else(wheel):
    names = set(ZipFile(wheel).namelist())
    folders = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert folders == {"fedunlearn", "strategies"}
    sources = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "simulations").rglob("*.py")]
    moved = {f"fedunlearn/{file.relative_to(ROOT).as_posix()}" for file in sources}
    assert moved
    assert moved <= names
    assert {"fedunlearn/py.typed", "strategies/py.typed"} <= names
    assert "strategies/__init__.py" not in names  # a user's own strategies/ would be hidden


@pytest.mark.slow
def test_an_editable_install_is_a_path_and_copies_nothing(tmp_path):
    uv = find_uv_bin()
    run(uv, "venv", "--python", sys.executable, "venv", cwd=tmp_path)
    install = ("pip", "install", "--python", "venv/bin/python", "--no-deps")
    run(uv, *install, "--build-constraints", CONSTRAINTS, "--editable", ROOT, cwd=tmp_path)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    assert (site / "_fedunlearn.pth").read_text().strip() == str(ROOT)
    assert not {"fedunlearn", "conf", "simulations", "strategies"} & {
        path.name for path in site.iterdir()
    }


@pytest.mark.slow
def test_the_installed_wheel_shows_its_config_from_another_folder(elsewhere):
    shown = yaml.safe_load(
        run("venv/bin/fedunlearn", "withdraw", "--cfg", "job", "strategy=federaser", cwd=elsewhere)
    )
    assert shown["strategy"]["_target_"] == "strategies.federaser.FedEraser"


@pytest.mark.slow
def test_the_installed_wheel_runs_from_another_folder(elsewhere):
    run("venv/bin/fedunlearn", "withdraw", "dataset=digits", "strategy=federaser",
        "strategy.interval=1", "training.rounds=2", "training.work.epochs=1",
        "hydra.run.dir=outputs/tiny", cwd=elsewhere)  # fmt: skip
    tiny = elsewhere / "outputs" / "tiny"
    assert {"metrics.csv", "ledger.csv", "summary.csv", "manifest.json"} <= {
        file.name for file in tiny.iterdir()
    }
    metrics = pd.read_csv(tiny / "metrics.csv")
    assert "federaser" in set(metrics["strategy"])
    assert {"train", "unlearn"} <= set(metrics["phase"])
