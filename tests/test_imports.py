"""The three import lines and the one direction of the design, read from the source text."""

import ast
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("conf", "fedunlearn", "simulations", "strategies")

FLOWER_SIDE = [
    f"fedunlearn/{name}.py"
    for name in (
        *("arrays", "client_app", "server_app", "grid", "clients"),
        *("engines/*", "flower", "plain_clients", "present"),
    )
]
MAY_IMPORT = {
    # the app of `flwr run` reads its run config by Hydra, which fedunlearn may not
    "flwr": [*FLOWER_SIDE, "simulations/flower_app.py"],
    "ray": FLOWER_SIDE,
    "hydra": ["simulations/*"],
    "omegaconf": ["simulations/*"],
    "mlflow": ["fedunlearn/loggers/*"],
    "optuna": ["simulations/*"],
    "matplotlib": ["fedunlearn/plots/*"],
    "altair": ["fedunlearn/report/*"],
    "vl_convert": ["fedunlearn/report/*"],
    "jinja2": ["fedunlearn/report/*"],
    "strategies": ["strategies/*", "simulations/*"],
    "conf": ["simulations/*"],
    "simulations": ["simulations/*"],
}

# What each of these may use of fedunlearn; a method sees the values and the verbs, nothing else.
VALUES = {"checks", "layout", "vectors", "models", "objectives", "local", "history"}
MAY_USE = {
    "fedunlearn/checks.py": set(),
    "fedunlearn/exchange.py": set(),
    "fedunlearn/layout.py": {"checks"},
    "fedunlearn/vectors.py": {"checks", "layout"},
    "fedunlearn/heads.py": {"checks", "layout"},
    "fedunlearn/nets.py": {"checks", "models"},
    "fedunlearn/dense.py": {"layout"},
    "fedunlearn/leaves.py": {"layout"},
    "fedunlearn/models.py": {"checks", "dense", "heads", "layout", "leaves", "vectors"},
    "fedunlearn/ridge.py": {"layout", "models"},
    "fedunlearn/objectives.py": {"checks", "layout", "vectors", "models"},
    "fedunlearn/objectives_distilling.py": {"checks", "layout", "models", "objectives"},
    "fedunlearn/per_record.py": {"layout", "models", "objectives"},
    "fedunlearn/objectives_unlearning.py": {"layout", "models", "objectives"},
    "fedunlearn/bounds.py": {"checks", "vectors"},
    "fedunlearn/local.py": {"checks", "layout", "vectors", "models", "objectives"}
    | {"bounds", "per_record"},
    "fedunlearn/fisher.py": {"checks", "local"},
    "fedunlearn/privacy.py": {"checks"},
    "fedunlearn/selection.py": {"layout", "vectors"},
    "fedunlearn/history.py": {"checks", "layout", "selection", "vectors"},
    "fedunlearn/policies.py": {"checks", "history", "layout", "selection"},
    "fedunlearn/blocks.py": {"history", "layout"},
    "fedunlearn/pooled.py": {"history", "layout", "vectors"},
    "fedunlearn/projections.py": set(),
    "fedunlearn/lbfgs.py": {"layout"},
    "fedunlearn/secants.py": {"history", "layout", "lbfgs"},
    "fedunlearn/estimates.py": {"history", "layout", "secants", "vectors"},
    "fedunlearn/sensitivity.py": {"blocks", "history"},
    "fedunlearn/participation.py": {"blocks", "history", "layout"},
    "fedunlearn/rollback.py": {"history", "layout", "strategy"},
    "fedunlearn/ledger.py": {"checks", "layout", "vectors", "history"},
    "fedunlearn/encodings.py": {"checks"},
    "fedunlearn/sealed.py": {"files"},
    "fedunlearn/stored_round.py": {"encodings", "sealed", "history", "layout"},
    "fedunlearn/round_files.py": {"checks", "encodings", "sealed", "history", "stored_round"},
    "fedunlearn/loggers/*.py": {"checks", "files", "ledger", "locks", "loggers", "runs"},
    "fedunlearn/strategy.py": VALUES | {"ledger", "proxy"},
    "fedunlearn/stages.py": set(),
    "fedunlearn/burden.py": {"evaluators", "runs", "stages"},
    "fedunlearn/floors.py": {"evaluators", "runs", "stages"},
    "fedunlearn/evaluators/cards.py": set(),
    "fedunlearn/evaluators/epsilon.py": set(),
    "fedunlearn/evaluators/fitted_epsilon.py": {"evaluators"},
    "fedunlearn/evaluators/challenge.py": {"evaluators"},
    "fedunlearn/evaluators/tradeoff_scores.py": {"evaluators", "runs"},
    "fedunlearn/evaluators/verification.py": {"checks", "evaluators"},
    "fedunlearn/data/triggers.py": {"checks", "data"},
    "fedunlearn/saved_models.py": {"checks", "layout"},
    "fedunlearn/scoring.py": {"checks", "data", "evaluators", "federation", "provenance", "runs"}
    | {"saved_models", "settings"},
    "fedunlearn/evaluators/cka.py": {"checks", "evaluators"},
    "fedunlearn/evaluators/per_client.py": {"checks", "evaluators"},
    "fedunlearn/evaluators/relearn.py": {"checks", "data", "evaluators"}
    | {"layout", "local", "models"},
    "fedunlearn/attack_table.py": {"attacks", "evaluators", "runs"},
    "fedunlearn/report/*.py": {
        "attack_table",
        "burden",
        "checks",
        "costing",
        "evaluators",
        "files",
        "plots",
    }
    | {"report", "runs", "verdicts", "wording"},
    "fedunlearn/costing/distributions.py": {"checks"},
    "fedunlearn/costing/*.py": {"checks", "costing", "runs", "wording"},
    "fedunlearn/evaluators/attack_scores.py": set(),
    "fedunlearn/evaluators/likelihood.py": set(),
    "fedunlearn/evaluators/detection.py": {"evaluators"},
    "fedunlearn/shadows.py": {"bank", "checks", "data", "federation", "history", "pieces"}
    | {"training"},
    "fedunlearn/attacks.py": {"evaluators"},
    "strategies/*.py": VALUES
    # what clients do
    | {"bounds", "fisher", "objectives_distilling", "objectives_unlearning", "proxy"}
    # what the server computes
    | {"blocks", "estimates", "heads", "participation", "policies", "pooled", "privacy"}
    | {"projections", "ridge", "rollback", "secants", "sensitivity", "strategy"},
}


def sources():
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def imported(file, source):
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            around = file.split("/")[: -node.level] if node.level else []
            origin = ".".join([*around, node.module] if node.module else around)
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


def trespassers(files, library, allowed):
    return {
        file
        for file, source in files.items()
        if any(name.split(".")[0] == library for name in imported(file, source))
        and not any(fnmatch(file, pattern) for pattern in allowed)
    }


def used(file, source):
    parts = (name.split(".") for name in imported(file, source))
    return {name[1] for name in parts if name[0] == "fedunlearn" and len(name) > 1}


def beyond(files, pattern, allowed):
    return {
        (file, name)
        for file, source in files.items()
        if fnmatch(file, pattern)
        for name in used(file, source) - allowed
    }


def module_name(file):
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def module_graph(files):
    modules = {module_name(file): file for file in files}
    graph = {module: set() for module in modules}
    for module, file in modules.items():
        for name in imported(file, files[file]):
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name and not module.startswith(f"{name}."):
                graph[module].add(name)
    return graph


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_a_library_is_imported_only_on_its_side(library):
    assert trespassers(sources(), library, MAY_IMPORT[library]) == set()


@pytest.mark.parametrize("pattern", MAY_USE)
def test_dependencies_point_one_way(pattern):
    assert any(fnmatch(file, pattern) for file in sources())
    assert beyond(sources(), pattern, MAY_USE[pattern]) == set()


def test_no_module_depends_on_itself_in_a_circle():
    TopologicalSorter(module_graph(sources())).prepare()


@pytest.mark.parametrize(
    "line",
    [
        "import flwr",
        "import flwr.app as app",
        "from flwr import app",
        "from flwr.app import Context",
        "def late():\n    from flwr.simulation import run_simulation",
    ],
)
def test_a_trespasser_is_found_however_it_imports(line):
    files = {"fedunlearn/grid.py": line, "strategies/mine.py": line, "strategies/a.py": "import os"}
    assert trespassers(files, "flwr", FLOWER_SIDE) == {"strategies/mine.py"}


@pytest.mark.parametrize(
    "line",
    [
        "import fedunlearn.clients",
        "from fedunlearn import clients",
        "from fedunlearn.clients import GridClients",
        "from . import clients",
        "from .clients import GridClients",
    ],
)
def test_a_step_against_the_direction_is_found(line):
    files = {"fedunlearn/layout.py": line, "fedunlearn/grid.py": line}
    assert beyond(files, "fedunlearn/layout.py", {"checks"}) == {
        ("fedunlearn/layout.py", "clients")
    }


def test_a_circle_is_found():
    files = {
        "fedunlearn/__init__.py": "",
        "fedunlearn/a.py": "from fedunlearn import b",
        "fedunlearn/b.py": "def late():\n    from fedunlearn.a import thing",
    }
    with pytest.raises(CycleError):
        TopologicalSorter(module_graph(files)).prepare()
