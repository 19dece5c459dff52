"""Overrides of the command line: what one says, and how Python values are written as some."""

import re
from collections.abc import Iterator, Mapping
from os import PathLike, fspath

from fedunlearn.checks import Refused

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_/-]*")
"""Text that needs no quotes, unless it is one of `_WORDS`."""

_WORDS = {"null", "true", "false", "nan", "inf"}
"""Plain text that Hydra reads as something else, in any case of letters."""


def key_and_value(override: str) -> tuple[str, str]:
    """Return what ``KEY=VALUE`` sets, without the marks + and ~ of Hydra, and to what."""
    key, _, value = override.lstrip("+~").partition("=")
    return key, value


def overrides_of(settings: Mapping[str, object]) -> list[str]:
    """Return ``KEY=VALUE`` for each setting; ``__`` and mappings within mappings go down a level.

    So ``{"training__rounds": 4}`` and ``{"training": {"rounds": 4}}`` are ``training.rounds=4``.
    """
    return [f"{key}={written(key, value)}" for key, value in _flat(settings, ())]


def _flat(settings: Mapping[str, object], above: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        path = (*above, str(name).replace("__", "."))
        if isinstance(value, Mapping) and value:
            yield from _flat(value, path)
        else:
            yield ".".join(path), value


def written(key: str, value: object) -> str:
    """Write a value as the command line takes it; raise `Refused` for one that it cannot take.

    Numbers of NumPy are numbers, arrays and tuples lists, and paths are text.
    """
    value = getattr(value, "tolist", lambda: value)()
    if isinstance(value, PathLike):
        value = fspath(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        pairs = (f"{_text(str(name))}:{written(key, part)}" for name, part in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list | tuple | range):
        return f"[{','.join(written(key, part) for part in value)}]"
    raise Refused(
        f"{key} is given an object of {type(value).__name__}. Give text, numbers, lists or "
        "mappings of them; classes of your own are named by _target_ in a file of conf/."
    )


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    quoted = re.sub(r"(\\*)'", r"\1\1\\'", value)  # Hydra halves backslashes only before a quote
    return "'" + re.sub(r"(\\+)$", r"\1\1", quoted) + "'"
