"""Pages of the API for Sphinx: one a face, with every name on it."""

import ast
import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fedunlearn"


@cache
def faces() -> list[str]:
    """Return the rooms that have a face, and the package itself, by module name."""
    stubs = sorted(PACKAGE.rglob("__init__.pyi"))
    return [".".join(stub.parent.relative_to(ROOT).parts) for stub in stubs]


@cache
def names(face: str) -> list[str]:
    """Return the public names of a face, as its stub lists them."""
    stub = ast.parse((ROOT / face.replace(".", "/") / "__init__.pyi").read_text())
    return sorted(
        {
            alias.asname
            for node in stub.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname
        },
        key=str.lower,
    )


@cache
def page(face: str) -> str:
    """Return the page of a face, in reStructuredText."""
    module = import_module(face)
    lines = [face, "=" * len(face), "", f".. py:module:: {face}", ""]
    said = inspect.getdoc(module) or ""
    lines += [re.sub(r"\n\n(?=    \S)", "\n\n::\n\n", said), ""]  # indented is code
    for name in names(face):
        lines += [*_entry(module, name), ""]
    return "\n".join(lines)


def _entry(module: ModuleType, name: str) -> list[str]:
    """Return what documents one name: whole at its home, elsewhere where that is."""
    value = getattr(module, name)
    home = _home(getattr(value, "__module__", ""), name)
    if home not in ("", module.__name__):
        return [f"{name}", f"   is `{home}.{name}`."]
    if inspect.isclass(value) and value.__name__ == name:  # or it is an alias
        return [f".. autoclass:: {module.__name__}.{name}"]
    if inspect.isroutine(value):
        return [f".. autofunction:: {module.__name__}.{name}"]
    said = inspect.getdoc(value) if inspect.ismodule(value) else said_of(module.__name__, name)
    indented = [f"   {line}" if line else "" for line in (said or "").splitlines()]
    return [f".. py:data:: {name}", "", *indented]


def _home(origin: str, name: str) -> str:
    """Return the face that lists ``name`` and lies nearest above the file that it comes from."""
    above = [face for face in faces() if f"{origin}.".startswith(f"{face}.")]
    return max((face for face in above if name in names(face)), key=len, default="")


def said_of(module: str, name: str) -> str:
    """Return what stands below a constant, wherever the module or face takes it from.

    Empty where nothing does, or where it comes from elsewhere than fedunlearn.
    """
    own, taken = _constants(module)
    if name in own or name not in taken:
        return own.get(name, "")
    return said_of(*taken[name])


@cache
def _constants(module: str) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Return the text below each constant of a module or face, and where it takes names from."""
    place = ROOT / module.replace(".", "/")
    stub, file = place / "__init__.pyi", place.with_suffix(".py")
    if not module.startswith("fedunlearn") or not (stub.is_file() or file.is_file()):
        return {}, {}
    body = ast.parse((stub if stub.is_file() else file).read_text()).body
    said: dict[str, str] = {}
    taken: dict[str, tuple[str, str]] = {}
    for node, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ImportFrom):
            origin = f"{module}.{node.module}" if node.level else str(node.module)
            taken |= {a.asname or a.name: (origin, a.name) for a in node.names}
        text = _text(below)
        said |= dict.fromkeys(_targets(node) if text else (), text)
    return said, taken


def _targets(node: ast.stmt) -> list[str]:
    """Return the names that a statement assigns to."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [part.id for whole in targets for part in ast.walk(whole) if isinstance(part, ast.Name)]


def _text(node: ast.stmt | None) -> str:
    """Return the text that a statement is; empty for any other."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(node.value.value) if isinstance(node.value.value, str) else ""
    return ""


def write(folder: Path) -> None:
    """Write a page for every face into ``folder``, and one that lists them."""
    folder.mkdir(exist_ok=True)
    wanted = {f"{face}.rst": page(face) for face in faces()}
    listed = [
        "Reference",
        "=========",
        "",
        "Every public name, by the room that it is imported from.",
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
        *(f"   {face}" for face in faces()),
        "",
    ]
    wanted["index.rst"] = "\n".join(listed)
    for old in folder.iterdir():
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        file = folder / name
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
