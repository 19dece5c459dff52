"""What the configuration's classes say of their fields: the one source of comments and tables.

A field's type and range stand in its annotation, what it means in the string below it.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from hydra.utils import get_class

from fedunlearn import checks

OURS = ("fedunlearn.", "strategies.")
"""How targets begin that are not Hydra's or Optuna's."""

CHOICE = "choice"

REQUIRED = "required"

WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Hyperparameter:
    """One field of a class that a configuration names."""

    name: str
    kind: str
    """Its type in words, but for None."""
    optional: bool
    """Whether None is allowed."""
    range: str
    """The values that it takes; empty where any of its type fits."""
    default: str
    """As YAML writes it; `REQUIRED` where there is none."""
    sentence: str
    """What it means, in the terms of Python."""

    @property
    def meaning(self) -> str:
        """The sentence in the terms of YAML, to go on with after a comma or a mark."""
        text = self.sentence.removesuffix(".").replace("`", "").replace("None", "null")
        first = text.split()[0]
        return text if first[1:] != first[1:].lower() else text[0].lower() + text[1:]

    @property
    def takes(self) -> str:
        """Its type and range, in words."""
        listed = self.range and self.kind in (CHOICE, WORDS[str])
        whole = self.range and self.kind.endswith(WORDS[int])
        joint = " of " if whole else " "
        what = self.range if listed else f"{self.kind}{joint}{self.range}".rstrip()
        return f"{what}, or null" if self.optional else what

    @property
    def comment(self) -> str:
        """What stands beside the key in a YAML: the meaning, and the range in brackets."""
        told = all(option in self.meaning for option in re.split(", | or ", self.range))
        return self.meaning if told else f"{self.meaning} ({self.range})"


@dataclass(frozen=True)
class Key:
    """A key of a YAML that sets a field."""

    path: str
    """All keys on the way to it, with dots between."""
    line: int
    """From 0."""
    depth: int
    """Columns before it."""
    end: int
    """The column after its value, or after its colon where the value begins on another line."""
    value: str
    """The value as it is written; empty where it begins on another line."""
    of: Hyperparameter


@cache
def hyperparameters(cls: Any) -> tuple[Hyperparameter, ...]:
    """Return what a dataclass says of its fields, in order."""
    ranges, sentences = checks.annotations(cls), _sentences(cls)
    return tuple(
        Hyperparameter(
            field.name,
            _kind(ranges[field.name]),
            checks.bound(ranges[field.name])[1],
            _range(ranges[field.name]),
            _default(field),
            sentences.get(field.name, ""),
        )
        for field in fields(cls)
    )


def keys(text: str) -> Iterator[Key]:
    """Yield the keys of a YAML that set fields of the classes named by ``_target_``, in order."""
    yield from _keys(yaml.compose(text), (), text.splitlines())


def classes(text: str) -> Iterator[type]:
    """Yield each dataclass of ours that a YAML names by ``_target_``, in order."""
    yield from _classes(yaml.compose(text))


def _keys(node: yaml.Node | None, above: tuple[str, ...], lines: list[str]) -> Iterator[Key]:
    if isinstance(node, yaml.SequenceNode):
        for place, part in enumerate(node.value):
            yield from _keys(part, (*above[:-1], f"{above[-1] if above else ''}[{place}]"), lines)
    if not isinstance(node, yaml.MappingNode):
        return
    cls = target(node)
    by_name = {one.name: one for one in hyperparameters(cls)} if cls else {}
    for key, value in node.value:
        path = (*above, key.value)
        if key.value in by_name:
            begin, number = key.start_mark.column, key.start_mark.line
            beside = value.start_mark.line == number and value.start_mark != value.end_mark
            end = value.end_mark.column if beside else key.end_mark.column + 1
            written = lines[number][value.start_mark.column : end] if beside else ""
            yield Key(".".join(path), number, begin, end, written, by_name[key.value])
        yield from _keys(value, path, lines)


def _classes(node: yaml.Node | None) -> Iterator[type]:
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _classes(part)
    if isinstance(node, yaml.MappingNode):
        cls = target(node)
        if cls is not None:
            yield cls
        for _, value in node.value:
            yield from _classes(value)


def target(node: yaml.MappingNode) -> type | None:
    """Return the dataclass of ours that a node names by ``_target_``, or None."""
    for key, value in node.value:
        if key.value == "_target_" and value.value.startswith(OURS):
            cls = get_class(value.value)
            return cls if is_dataclass(cls) else None
    return None


def _sentences(cls: Any) -> Mapping[str, str]:
    """Return the string below each field in the source of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    by_field = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(sentence))):
                    by_field[field.target.id] = " ".join(sentence.split())
    return by_field


def _kind(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_kind(kind) for kind in inside if kind is not NoneType)
    if origin is Annotated:
        return _kind(inside[0])
    if origin is Literal:
        return CHOICE
    if origin is tuple:
        many = "" if inside[-1] is Ellipsis else f" of {len(inside)}"
        return f"list{many}, each a {_kind(inside[0])}"
    if origin is Mapping:
        return f"mapping, each value a {_kind(inside[1])}"
    return WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _range(annotation: Any) -> str:
    fits, _ = checks.bound(annotation)
    return "" if fits is None or fits.words == WORDS[bool] else fits.words


def _default(field: "Field[Any]") -> str:
    value = field.default
    if field.default_factory is not MISSING:
        value = field.default_factory()
    return REQUIRED if value is MISSING else plain(value)


def plain(value: object) -> str:
    """Return a value as YAML writes it; a dataclass by its name."""
    if is_dataclass(value):
        return type(value).__name__
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {plain(one)}' for name, one in value.items())}}}"
    return str(value)
