"""Frozen dataclasses as JSON text: how work travels in a message. Never pickle."""

import dataclasses
import json
import pkgutil
from typing import Any


def encode(value: Any) -> str:
    """Return a dataclass instance, with the dataclasses in it, as JSON text."""
    return json.dumps(_plain(value), sort_keys=True)


def decode(text: str) -> Any:
    """Rebuild what `encode` wrote; raises ValueError if the text names no dataclass."""
    return _rebuilt(json.loads(text))


def _plain(value: Any) -> Any:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return {"class": f"{type(value).__module__}:{type(value).__qualname__}", **fields}


def _rebuilt(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    fields = {name: _rebuilt(value) for name, value in plain.items() if name != "class"}
    cls = pkgutil.resolve_name(plain["class"])
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise ValueError(f"{plain['class']} is not a dataclass, so no message may name it.")
    return cls(**fields)
