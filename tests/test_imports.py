"""The order of the rooms, their faces, and the lines that libraries may not cross.

All is read from the source text, but for the last tests, which import in processes of their own.
"""

import ast
import subprocess
import sys
from fnmatch import fnmatch
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("conf", "fedunlearn", "simulations", "strategies")

GROUND = {"checks", "files", "sealed_files", "locks", "threads", "randomness"}
ORDER = ["models", "data", "local", "history", "unlearning", "methods", "flower"]
ORDER += ["results", "evaluators", "experiment", "attacks"]
"""A room may import from those before it, and from the ground files."""

NEVER = {"results": set(ORDER), "strategies": {"flower", "experiment", "evaluators", "attacks"}}
"""What a room leaves out although it stands above it."""

NESTED = {
    *("history.audit", "results.certificates", "results.costing", "results.frames"),
    *("results.plots", "results.report", "experiment.estimate", "experiment.loggers"),
}
"""Rooms within rooms, with faces of their own."""

MAY_IMPORT = {
    # the app of `flwr run` reads its run config by Hydra, which fedunlearn may not
    "flwr": ["fedunlearn/flower/*", "simulations/flower_app.py"],
    "ray": ["fedunlearn/flower/*"],
    "hydra": ["simulations/*"],
    "omegaconf": ["simulations/*"],
    "cryptography": ["fedunlearn/results/certificates/*"],
    "mlflow": ["fedunlearn/experiment/loggers/*"],
    "tensorboard": ["fedunlearn/experiment/loggers/*"],
    "wandb": ["fedunlearn/experiment/loggers/*"],
    "optuna": ["simulations/*"],
    "matplotlib": ["fedunlearn/results/plots/*"],
    "altair": ["fedunlearn/results/report/*"],
    "vl_convert": ["fedunlearn/results/report/*"],
    "jinja2": ["fedunlearn/results/report/*"],
    "strategies": ["strategies/*", "simulations/*"],
    "conf": ["simulations/*"],
    "simulations": ["simulations/*"],
    "torch": [
        *(f"fedunlearn/{room}/*" for room in ORDER if room != "results"),
        *("fedunlearn/sealed_files.py", "fedunlearn/threads.py", "strategies/*"),
        "simulations/*",
    ],
}


def sources():
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def configs():
    return {
        file.relative_to(ROOT).as_posix(): file.read_text() for file in ROOT.glob("conf/**/*.yaml")
    }


@cache
def nodes(source):
    return tuple(ast.walk(ast.parse(source)))


@cache
def imported(file, source):
    names = set()
    for node in nodes(source):
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


def rooms(file, source):
    """Which rooms and ground files of the package a file imports from."""
    parts = (name.split(".") for name in imported(file, source))
    return {name[1] for name in parts if name[0] == "fedunlearn" and len(name) > 1}


def upward(files):
    """Imports of a room from one that does not stand below it."""
    found = set()
    for file, source in files.items():
        package, _, rest = file.partition("/")
        room = rest.split("/")[0].removesuffix(".py")
        used = rooms(file, source) - {"__version__"}
        if package == "strategies":
            allowed = (GROUND | set(ORDER)) - NEVER["strategies"]
        elif package != "fedunlearn":
            continue
        elif room in ORDER:
            below = set(ORDER[: ORDER.index(room) + 1]) - NEVER.get(room, set())
            allowed = GROUND | below | {room}
        else:
            allowed = GROUND
        found |= {(file, name) for name in used - allowed}
    return found


def home(module):
    """The room, or the room within a room, in which a module or a face lies."""
    first, _, rest = module.removeprefix("fedunlearn.").partition(".")
    nested = f"{first}.{rest.split('.')[0]}"
    return nested if nested in NESTED else first


def module_name(file):
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def behind_faces(files):
    """Imports that name a file of another room instead of that room's face."""
    found = set()
    for file, source in files.items():
        own = home(module_name(file)) if file.startswith("fedunlearn/") else ""
        for node in nodes(source):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if not name.startswith("fedunlearn.") or home(name) in {own, *GROUND}:
                    continue
                if name != f"fedunlearn.{home(name)}":
                    found.add((file, name))
    return found


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


def targets(text):
    return {
        line.split("_target_:")[1].split("}")[0].split(",")[0].strip()
        for line in text.splitlines()
        if "_target_:" in line
    }


def faces():
    return ["fedunlearn." + name for name in (*ORDER, *sorted(NESTED))]


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_a_library_is_imported_only_on_its_side(library):
    assert trespassers(sources(), library, MAY_IMPORT[library]) == set()


def test_a_room_imports_only_from_those_before_it():
    assert upward(sources()) == set()


def test_a_room_is_entered_by_its_face():
    assert behind_faces(sources()) == set()


@pytest.mark.parametrize("file", sorted((ROOT / "strategies").glob("*.py")), ids=lambda f: f.stem)
def test_a_strategy_takes_all_it_names_from_one_room_and_from_shared_methods(file):
    tree = ast.parse(file.read_text())
    ours = [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fedunlearn")
    ]
    assert sorted(ours) in (
        ["fedunlearn.unlearning"],
        ["fedunlearn.methods", "fedunlearn.unlearning"],
    )
    assert not any(
        name.split(".")[0] == "fedunlearn"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in [a.name for a in node.names]
    )


def test_no_module_depends_on_itself_in_a_circle():
    TopologicalSorter(module_graph(sources())).prepare()


def test_every_room_is_in_the_order_and_few_files_lie_beside_them():
    folder = ROOT / "fedunlearn"
    found = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert found == set(ORDER)
    flat = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    assert flat <= GROUND
    assert len(list(folder.glob("*.py"))) <= 8


@pytest.mark.parametrize("face", faces())
def test_a_face_says_what_it_is_and_names_what_there_is(face):
    module = import_module(face)
    assert module.__doc__
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("face", faces())
def test_no_name_of_a_face_is_hidden_by_a_file(face):
    """Python binds a file to its package once it is imported, over a lazy name of the same kind."""
    folder = ROOT / face.replace(".", "/")
    stub = ast.parse((folder / "__init__.pyi").read_text())
    files = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            assert files.isdisjoint(alias.asname for alias in node.names)


def test_every_target_of_the_configuration_is_a_name_of_a_face():
    found = {name for text in configs().values() for name in targets(text)}
    commands = {name for name in found if name.startswith("fedunlearn.simulations.")}
    assert commands == {"fedunlearn.simulations.index.IndexRuns"}  # Hydra's, and in no room
    ours = {name for name in found if name.startswith("fedunlearn.")} - commands
    assert len(ours) > 40
    for name in ours:
        face, _, attribute = name.rpartition(".")
        assert face in faces(), name
        assert attribute in import_module(face).__all__, name


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import fedunlearn.results", ("torch", "matplotlib", "altair", "flwr", "sklearn")),
        ("from fedunlearn.results import load, judge", ("torch", "matplotlib", "altair")),
        ("from fedunlearn.results.plots import draw", ("torch", "altair", "flwr")),
        ("import fedunlearn.results.report", ("torch", "matplotlib", "altair", "flwr", "sklearn")),
        ("from fedunlearn.results.report import write", ("torch", "matplotlib", "flwr", "ray")),
        ("from fedunlearn.results.report.writing import report", ("torch", "matplotlib", "flwr")),
        ("import fedunlearn.flower", ("ray", "flwr")),
        ("from fedunlearn.flower import Local", ("ray",)),
        ("import fedunlearn.models", ("torch",)),
        ("import fedunlearn.unlearning", ("torch",)),
        ("import fedunlearn.experiment", ("torch", "mlflow", "wandb", "flwr")),
    ],
)
def test_a_face_is_light(statement, absent):
    code = f"{statement}; import sys; print(*sorted({absent} & sys.modules.keys()))"
    code = code.replace(f"{absent}", f"set({absent})")
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.split() == []


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
    files = {
        "fedunlearn/flower/grid.py": line,
        "strategies/mine.py": line,
        "strategies/a.py": "import os",
    }
    assert trespassers(files, "flwr", MAY_IMPORT["flwr"]) == {"strategies/mine.py"}


@pytest.mark.parametrize(
    "line",
    [
        "import fedunlearn.flower",
        "from fedunlearn import flower",
        "from fedunlearn.flower import GridChannel",
        "from ..flower.grid_channel import GridChannel",
        "from .. import flower",
    ],
)
def test_a_step_against_the_direction_is_found(line):
    files = {"fedunlearn/models/layout.py": line, "fedunlearn/experiment/whole_run.py": line}
    assert upward(files) == {("fedunlearn/models/layout.py", "flower")}


@pytest.mark.parametrize(
    "line",
    [
        "import fedunlearn.history.rounds",
        "from fedunlearn.history.rounds import Round",
        "def late():\n    from fedunlearn.history.rounds import Round",
    ],
)
def test_a_way_past_a_face_is_found(line):
    files = {
        "strategies/mine.py": line,
        "fedunlearn/history/stores.py": line,
        "fedunlearn/history/audit/search.py": line,
        "fedunlearn/unlearning/driver.py": "from fedunlearn.history import Round",
    }
    assert {file for file, _ in behind_faces(files)} == {
        "strategies/mine.py",
        "fedunlearn/history/audit/search.py",
    }


def test_a_circle_is_found():
    files = {
        "fedunlearn/__init__.py": "",
        "fedunlearn/a.py": "from fedunlearn import b",
        "fedunlearn/b.py": "def late():\n    from fedunlearn.a import thing",
    }
    with pytest.raises(CycleError):
        TopologicalSorter(module_graph(files)).prepare()


def test_what_tests_share_lies_in_support():
    for file in (ROOT / "tests").rglob("*.py"):
        for name in imported(file.relative_to(ROOT).as_posix(), file.read_text()):
            parts = name.split(".")
            assert parts[0] != "tests" or parts[1] == "support", (file, name)
