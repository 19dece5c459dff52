"""The comments of conf/: beside each key that sets a field stands what the field's class says.

Comments on lines of their own, and beside other keys, are a file's own and stay as they are.
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from .hyperparameters import Key, keys

CONF = Path(__file__).parents[1] / "conf"

COLUMN = 25
"""Where comments begin, if keys and values leave room."""

WIDTH = 100

HELD = "\N{NO-BREAK SPACE}"
"""Stands for a space at which no line ends: those of a range."""


def commented(text: str) -> str:
    """Return a YAML with the comments that its classes make."""
    by_line = {key.line: key for key in keys(text)}
    lines: list[str] = []
    old: int | None = None
    for number, line in enumerate(text.splitlines()):
        column = line.find("#") if line.lstrip().startswith("#") else -1
        if old is not None and column == old:
            continue  # goes on with the comment of the key above
        key = by_line.get(number)
        old = None
        if key is None:
            lines.append(line)
            continue
        begin = line.find("#", key.end)
        old = begin if begin > key.depth else None
        lines += _beside(line[: key.end], key)
    return "\n".join(lines) + "\n"


def _beside(code: str, key: Key) -> Iterator[str]:
    column = max(COLUMN, len(code) + 2)
    text = re.sub(r"\([^()]*\)$", lambda bound: bound[0].replace(" ", HELD), key.of.comment)
    room = max(WIDTH - column - 2, 20)
    first, *more = textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)
    yield f"{code:{column}}# {first}".replace(HELD, " ")
    for rest in more:
        yield f"{'':{column}}# {rest}".replace(HELD, " ")


def files() -> dict[Path, str]:
    """Return every YAML of conf/ as it should be."""
    paths = sorted(CONF.rglob("*.yaml"))
    return {path: commented(path.read_text()) for path in paths}
