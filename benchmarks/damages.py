"""Ways in which a single file of a folder can be damaged, each drawn from a random generator."""

import csv
import io
import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

NASTY = ("1" + "0" * 20, "nan", "inf", "-1", "1e400", "x", "", "0.1", "\x00", "999999")
"""Cells that a table may hold after an accident."""

OTHERS: tuple[Any, ...] = (None, [], {}, "text", 10**20, -1, True, 1.5, [[]], {"a": 1})
"""Values of the wrong kind."""


def cut(content: bytes, rng: random.Random) -> bytes:
    """Cut the file off anywhere."""
    return content[: rng.randrange(len(content))] if content else b""


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Turn a few bits around."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def emptied(content: bytes, rng: random.Random) -> bytes:
    """Leave nothing."""
    return b""


def zeroed(content: bytes, rng: random.Random) -> bytes:
    """Leave the length, and zeros, as a file system does after the power failed."""
    start = rng.randrange(len(content)) if content else 0
    return content[:start] + bytes(len(content) - start)


def no_text(content: bytes, rng: random.Random) -> bytes:
    """Put bytes in that are no UTF-8."""
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice((b"\xff\xfe", b"\xc3\x28", b"\x80")) + content[place:]


def cell(content: bytes, rng: random.Random) -> bytes:
    """Replace a cell of a table."""
    rows = _rows(content)
    if len(rows) > 1:
        row = rng.choice(rows[1:])
        row[rng.randrange(len(row))] = rng.choice(NASTY)
    return _table(rows)


def rows_changed(content: bytes, rng: random.Random) -> bytes:
    """Drop, double or move a row of a table."""
    rows = _rows(content)
    if len(rows) > 1:
        place = rng.randrange(1, len(rows))
        row = rows.pop(place)
        rows[place:place] = [[], [row, row]][rng.randrange(2)]
    return _table(rows)


def columns_changed(content: bytes, rng: random.Random) -> bytes:
    """Drop or double a column of a table, or give it another name."""
    rows = _rows(content)
    if rows:
        place, what = rng.randrange(len(rows[0])), rng.randrange(3)
        for number, row in enumerate(rows):
            if what == 2:
                row[place] = row[place] if number else f"{row[place]}x"
            else:
                row[place : place + 1] = [row[place]] * (0 if what == 0 else 2)
    return _table(rows)


def value(content: bytes, rng: random.Random) -> bytes:
    """Put a value of another kind somewhere into a JSON or YAML file."""
    return _written(content, _changed(_parsed(content), rng, lambda old: rng.choice(OTHERS)))


def whole(content: bytes, rng: random.Random) -> bytes:
    """Replace a JSON or YAML file by a valid one of another kind."""
    return _written(content, rng.choice(OTHERS))


def key_lost(content: bytes, rng: random.Random) -> bytes:
    """Drop a key or an item somewhere in a JSON or YAML file."""
    return _written(content, _changed(_parsed(content), rng, None))


def deep(content: bytes, rng: random.Random) -> bytes:
    """Nest a JSON or YAML file deeper than any reader can follow."""
    return b"[" * 100_000


Rewriting = Callable[[bytes, random.Random], bytes]

ANY: Mapping[str, Rewriting] = {
    "cut off": cut,
    "bits flipped": flipped,
    "emptied": emptied,
    "zeroed": zeroed,
    "not UTF-8": no_text,
}
TABLE: Mapping[str, Rewriting] = {
    "cell": cell,
    "rows": rows_changed,
    "columns": columns_changed,
}
TREE: Mapping[str, Rewriting] = {
    "value of another kind": value,
    "other content": whole,
    "key lost": key_lost,
    "deeply nested": deep,
}
BY_SUFFIX = {".csv": TABLE, ".json": TREE, ".yaml": TREE}
PLACES = ("deleted", "a folder instead", "swapped")
"""Damage to a file as a whole; ``swapped`` puts a valid one of the same kind in its place."""


def kinds(path: Path) -> list[str]:
    """Return the kinds of damage that a file can take."""
    return [*ANY, *BY_SUFFIX.get(path.suffix, {}), *PLACES]


def damage(path: Path, kind: str, rng: random.Random, others: list[Path]) -> None:
    """Damage ``path``; ``others`` are valid files of its kind."""
    if kind in PLACES:
        content = rng.choice(others).read_bytes() if others else b""
        path.unlink()
        if kind == "a folder instead":
            path.mkdir()
        elif kind == "swapped":
            path.write_bytes(content)
        return
    rewriting = {**ANY, **BY_SUFFIX.get(path.suffix, {})}[kind]
    content = path.read_bytes()
    path.unlink()  # other names of the file stay as they are
    path.write_bytes(rewriting(content, rng))


def restored(source: Path, target: Path) -> None:
    """Make ``target`` what ``source`` is."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode())))


def _table(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _parsed(content: bytes) -> Any:
    return yaml.load(content, yaml.CSafeLoader)


def _written(before: bytes, content: Any) -> bytes:
    if before.startswith(b"{"):
        return json.dumps(content, indent=2, ensure_ascii=False).encode()
    return yaml.safe_dump(content, sort_keys=False).encode()


def _changed(tree: Any, rng: random.Random, other: Callable[[Any], Any] | None) -> Any:
    """Return ``tree`` with one value replaced by ``other`` of it, or without it."""
    places = list(_places(tree))
    if not places:
        return tree if other is None else other(tree)
    holder, key = rng.choice(places)
    if other is None:
        del holder[key]
    else:
        holder[key] = other(holder[key])
    return tree


def _places(tree: Any) -> Any:
    """Yield every container and key within ``tree``."""
    items = (
        list(tree.items())
        if isinstance(tree, dict)
        else list(enumerate(tree))
        if isinstance(tree, list)
        else []
    )
    for key, inside in items:
        yield tree, key
        yield from _places(inside)
