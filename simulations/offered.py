"""Which classes a run's folder may name: those that the configurations on this machine offer.

Somebody else's folder is data. What its manifest says is built only if a YAML of ours, or of the
working directory's ``conf/``, names the same ``_target_``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from fedunlearn.checks import Refused

from .search_path import folders

TARGET = re.compile(r"_target_:\s*([\w.]+)")


def offered() -> frozenset[str]:
    """Return every ``_target_`` that a YAML of ours or of the user's own ``conf/`` names."""
    texts = (path.read_text(encoding="utf-8") for folder in folders() for path in _yamls(folder))
    return frozenset(target for text in texts for target in TARGET.findall(text))


def require_offered(part: Any, source: Path) -> None:
    """Raise `Refused` where ``part`` of what ``source`` holds names a class that nobody offers."""
    known = offered()
    for key, target in _targets(part, ""):
        if target not in known:
            raise Refused(
                f"{source} names {key}={target}, which no configuration on this machine offers: "
                "what lies in a folder runs no code. If the class is yours, name it by _target_ in "
                f"a YAML below conf/ of the directory where you stand ({Path.cwd()})."
            )


def _yamls(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.yaml")


def _targets(part: Any, key: str) -> Iterator[tuple[str, object]]:
    """Yield every ``_target_`` within ``part``, and its key."""
    if isinstance(part, DictConfig | ListConfig):
        part = OmegaConf.to_container(part, resolve=True)
    if isinstance(part, dict):
        for name, value in part.items():
            place = f"{key}.{name}" if key else str(name)
            if name == "_target_":
                yield place, value
            else:
                yield from _targets(value, place)
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from _targets(value, f"{key}[{number}]")
