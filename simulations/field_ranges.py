"""What fields take, read from the source of their classes: a value is refused before torch loads.

Building a class imports its room, which takes seconds. What its annotations say of a plain value
stands in its file, and is said here in the same words. Whatever is not certain fits.
"""

from __future__ import annotations

import ast
import collections.abc
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, make_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fedunlearn import checks
from fedunlearn.checks import FieldRefused, Refused

from .search_path import not_found

OURS = ("fedunlearn", "strategies")

KNOWN = {
    **{kind.__name__: kind for kind in (bool, int, float, str, tuple, list, dict, object)},
    **{name: getattr(typing, name) for name in ("Annotated", "Any", "ClassVar", "Literal")},
    **{name: part for name, part in vars(checks).items() if not name.startswith("_")},
    "Mapping": collections.abc.Mapping,
    "checks": checks,
}
"""Names that annotations of any module may use."""


@dataclass(frozen=True)
class Class:
    """A dataclass as its source describes it."""

    fields: Mapping[str, Any]
    """The annotations of its fields, in order; what cannot be told from the source is Any."""
    checked: bool
    """Whether the first that it does is to hold its fields to them."""


def require(where: str, part: Any) -> None:
    """Raise `FieldRefused` for a plain value in ``part`` that the class of its field refuses.

    ``where`` is the key of ``part`` in the configuration. Parts within it come first, as they are
    built first.
    """
    for place, inside in _parts(where, part):
        require_module(place, str(inside["_target_"]))
        found = described(str(inside["_target_"]))
        values = {key: value for key, value in inside.items() if key != "_target_"}
        if found is None or not found.checked or not values.keys() <= found.fields.keys():
            continue
        for name, annotation in found.fields.items():
            if name in values and not any(_parts("", values[name])):
                for key, rest in checks.wrong(annotation, name, values[name]):
                    raise FieldRefused(place, key, rest)


def require_module(where: str, target: str) -> None:
    """Raise `Refused` where the package of a class is nowhere."""
    try:
        absent = find_spec(target.partition(".")[0]) is None
    except (ImportError, ValueError):
        return
    if absent:
        error = ImportError(f"Error locating target '{target}'")
        raise Refused(f"{where} cannot be built: {not_found(error)}")


def _parts(where: str, part: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every mapping within ``part`` that names its class, the innermost first."""
    if isinstance(part, list):
        for place, one in enumerate(part):
            yield from _parts(f"{where}[{place}]", one)
    elif isinstance(part, dict):
        for key, value in part.items():
            yield from _parts(f"{where}.{key}", value)
        if "_target_" in part:
            yield where, part


@cache
def described(target: str) -> Class | None:
    """Return what the source of a class says of its fields; None where none is found."""
    module, _, name = target.rpartition(".")
    found = _found(module, name)
    match found:
        case (there, ast.ClassDef() as cls):
            return _class(there, cls)
    return None


def source(target: str) -> ast.ClassDef | None:
    """Return the statement that defines a class; None where none is found."""
    module, _, name = target.rpartition(".")
    found = _found(module, name)
    return found[1] if found is not None and isinstance(found[1], ast.ClassDef) else None


def _class(module: str, cls: ast.ClassDef) -> Class | None:
    fields: dict[str, Any] = {}
    checked = False
    for base in cls.bases:
        above = described(f"{module}.{ast.unparse(base)}")
        if above is None:
            return None
        fields |= above.fields
        checked = above.checked
    for statement in cls.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            annotation = _evaluated(module, statement.annotation)
            if annotation is not typing.ClassVar:
                fields[statement.target.id] = annotation
        elif isinstance(statement, ast.FunctionDef) and statement.name == "__post_init__":
            changed = _read_before(statement)
            checked = changed is not None
            fields |= dict.fromkeys(changed or (), Any)
    return Class(fields, checked)


def _read_before(method: ast.FunctionDef) -> frozenset[str] | None:
    """Return the fields that a ``__post_init__`` may change before it holds all to their ranges.

    None where it does anything else before that, or never does it.
    """
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    changed: set[str] = set()
    for statement in body:
        match statement:
            case ast.Expr() if ast.unparse(statement) in ("checks.fields(self)", "fields(self)"):
                return frozenset(changed)
            case ast.If(body=[ast.Expr(value=ast.Call(args=[_, ast.Constant(value=name), _]))]):
                changed.add(str(name))  # object.__setattr__(self, name, …)
            case _:
                return None
    return None


def _evaluated(module: str, annotation: ast.expr) -> Any:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if ast.unparse(annotation).partition("[")[0] in ("ClassVar", "typing.ClassVar"):
        return typing.ClassVar
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    try:
        known = {name: KNOWN[name] if name in KNOWN else _stand_in(module, name) for name in names}
        return eval(ast.unparse(annotation), {"__builtins__": {}}, known)
    except Exception:  # an annotation that only its own module can read
        return Any


def _stand_in(module: str, name: str) -> Any:
    """Return what stands for ``name`` of a module in an annotation: a class that nothing is of.

    An alias is what its own module says.
    """
    found = _found(module, name)
    match found:
        case (_, ast.ClassDef(decorator_list=decorators, bases=bases)):
            kinds = {ast.unparse(one).partition("(")[0] for one in (*decorators, *bases)}
            return make_dataclass(name, []) if kinds & {"dataclass", "Protocol"} else Any
        case (there, ast.Assign(value=value)):
            return _evaluated(there, value)
    return Any


@cache
def _found(module: str, name: str) -> tuple[str, ast.stmt] | None:
    """Return where a class or an alias is defined, and the statement that does it.

    Imports are followed from file to file, through the stub of a face.
    """
    for statement in _statements(module):
        match statement:
            case ast.ClassDef(name=defined) if defined == name:
                return module, statement
            case ast.Assign(targets=[ast.Name(id=defined)]) if defined == name:
                return module, statement
            case ast.ImportFrom(names=names, module=source, level=level):
                for one in names:
                    there = _absolute(module, source or "", level)
                    if (one.asname or one.name) == name and _near(module, there):
                        return _found(there, one.name)
    return None


def _near(module: str, other: str) -> bool:
    """Whether ``other`` is ours, or lies where ``module`` does: nobody else's source is read."""
    top = other.partition(".")[0]
    if top in (*OURS, module.partition(".")[0]):
        return True
    file, beside = _file(module), _file(top)
    return file is not None and beside is not None and file.parent == beside.parent


def _absolute(module: str, source: str, level: int) -> str:
    """Return the full name of what ``module`` imports ``from {'.' * level}{source}``."""
    if not level:
        return source
    file = _file(module)
    package = file is not None and file.stem == "__init__"
    parts = module.split(".")
    kept = parts[: len(parts) - level + package]
    return ".".join([*kept, source]) if source else ".".join(kept)


@cache
def _statements(module: str) -> tuple[ast.stmt, ...]:
    file = _file(module)
    if file is None:
        return ()
    try:
        return tuple(ast.parse(file.read_text(encoding="utf-8")).body)
    except (OSError, SyntaxError, ValueError):
        return ()


@cache
def _file(module: str) -> Path | None:
    """Return the stub of a module if it has one, else its source; nothing else is searched."""
    try:
        spec = find_spec(module)
    except Exception:  # importing the package above it fails, which building it will say
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    stub = Path(spec.origin).with_suffix(".pyi")
    return stub if stub.is_file() else Path(spec.origin)
