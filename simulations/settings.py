"""The keys of conf/ with their values and comments, read from the files alone.

What stands beside a key was made from the class that it belongs to (`docs_tables`), so that whoever
asks what a key means, or mistypes one, is answered without importing that class.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from .search_path import folders, own_folder

MAIN = "config"
"""The file that all of a run begins from."""

OVERLAYS = ("experiment", "sweep", "debug", "local")
"""Groups whose files set keys of other groups."""


@dataclass(frozen=True)
class Setting:
    """One key of a file of conf/."""

    path: str
    """As the command line writes it, such as ``training.work.optimizer.lr``."""
    value: str
    """As the file writes it; empty where it is made of keys of its own."""
    sentence: str
    """The comment beside it: what it means, and its range in brackets."""
    target: str
    """The class whose field it sets; empty where it sets none."""
    group: str
    """The group of the file; empty for the main file."""
    choice: str
    """The name of the file."""


@dataclass(frozen=True)
class Choice:
    """One file of a group."""

    group: str
    name: str
    file: Path
    sentence: str
    """The comment at its top or, of a strategy without one, the first line of its source."""


@cache
def groups(own: Path) -> dict[str, dict[str, Choice]]:
    """Return the choices of every group by name, those in ``conf/`` of the folder ``own`` too."""
    found: dict[str, dict[str, Choice]] = {}
    for folder in folders():
        for file in sorted(folder.glob("*/*.yaml")):
            group = file.parent.name
            if group != "hydra" and file.stem not in found.setdefault(group, {}):
                choice = Choice(group, file.stem, file, _about(file.read_text(encoding="utf-8")))
                found[group][file.stem] = choice
    return found


@cache
def settings(own: Path) -> tuple[Setting, ...]:
    """Return every key of the main file and of every choice, default choices first.

    Overlays come last.
    """
    main = folders()[0] / f"{MAIN}.yaml"
    chosen = defaults()
    parts = [*_read(main, "", MAIN)]
    for group, choices in sorted(groups(own).items(), key=lambda item: item[0] in OVERLAYS):
        for name in sorted(choices, key=lambda name: (name != chosen.get(group), name)):
            parts += _read(choices[name].file, group, name)
    return tuple(parts)


@cache
def defaults() -> dict[str, str]:
    """Return the choice of every group that the main file makes."""
    return {name: value for name, (value, _) in _defaults_list().items()}


@cache
def sentences_of_groups() -> dict[str, str]:
    """Return what the main file says of every group."""
    return {name: sentence for name, (_, sentence) in _defaults_list().items()}


def known_settings() -> tuple[Setting, ...]:
    """Return `settings` as they are where the user stands."""
    return settings(own_folder())


def known_groups() -> dict[str, dict[str, Choice]]:
    """Return `groups` as they are where the user stands."""
    return groups(own_folder())


def ending_in(name: str) -> list[str]:
    """Return the paths of all keys whose last parts are ``name``, each once, in order."""
    paths = (one.path for one in known_settings() if one.group not in OVERLAYS)
    return list(dict.fromkeys(path for path in paths if path.endswith(f".{name}")))


def _defaults_list() -> dict[str, tuple[str, str]]:
    text = (folders()[0] / f"{MAIN}.yaml").read_text(encoding="utf-8")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None
    listed = next(value for key, value in node.value if key.value == "defaults")
    lines = text.splitlines()
    return {
        key.value: (value.value, _comment(lines, key.start_mark.line, value.end_mark.column))
        for entry in listed.value
        if isinstance(entry, yaml.MappingNode)
        for key, value in entry.value
        if " " not in key.value
    }


def _read(file: Path, group: str, name: str) -> Iterator[Setting]:
    text = file.read_text(encoding="utf-8")
    above = () if not group or "@package" in text.partition("\n")[0] else (group,)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for path, value, sentence, target in _keys(node, above, text.splitlines()):
        if path.partition(".")[0] not in ("defaults", "hydra"):
            yield Setting(path, value, sentence, target, group, name)


def _keys(
    node: yaml.Node | None, above: tuple[str, ...], lines: list[str]
) -> Iterator[tuple[str, str, str, str]]:
    if isinstance(node, yaml.SequenceNode) and above:
        for place, part in enumerate(node.value):
            yield from _keys(part, (*above[:-1], f"{above[-1]}[{place}]"), lines)
    if not isinstance(node, yaml.MappingNode):
        return
    target = next((value.value for key, value in node.value if key.value == "_target_"), "")
    for key, value in node.value:
        if key.value == "_target_":
            continue
        path, line = (*above, key.value), key.start_mark.line
        nested = isinstance(value, yaml.MappingNode) and not value.flow_style
        beside = value.start_mark.line == line and not nested
        end = value.end_mark.column if beside else key.end_mark.column
        written = lines[line][value.start_mark.column : end] if beside else ""
        yield ".".join(path), written, _comment(lines, line, end), target
        yield from _keys(value, path, lines)


def _comment(lines: list[str], line: int, end: int) -> str:
    """Return the comment behind column ``end`` of a line, and what goes on with it below."""
    column = lines[line].find("#", end)
    if column < 0:
        return ""
    parts = [lines[line][column + 1 :].strip()]
    for below in lines[line + 1 :]:
        if below.find("#") != column or not below.lstrip().startswith("#"):
            break
        parts.append(below.lstrip()[1:].strip())
    return " ".join(parts)


def _about(text: str) -> str:
    """Return the comment at the top of a file; else the first line of the source of its class."""
    top = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            top.append(line[1:].strip())
    target = next((one for one in text.splitlines() if one.startswith("_target_:")), "")
    return " ".join(top) or _first_line(target.partition(":")[2].strip())


def _first_line(target: str) -> str:
    """Return the first line of the file of a strategy, without its name."""
    module = target.rpartition(".")[0]
    if not module.startswith("strategies."):
        return ""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "\n"
    return text.splitlines()[0].partition(": ")[2] or text.splitlines()[0]
