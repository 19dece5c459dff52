"""What is wrong with many files is said once: the first ten, and how many more."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedunlearn.checks import Refused, short

NAMED = 10
"""How many of a list are named."""

log = logging.getLogger(__name__)


def listed(names: Iterable[str]) -> str:
    """Return ``a, b and 3 more``: the first `NAMED` of ``names``, each cut to what is quoted."""
    every = [short(name) for name in names]
    more = len(every) - NAMED
    if more > 0:
        return f"{', '.join(every[:NAMED])} and {more} more"
    *most, last = every
    return f"{', '.join(most)} and {last}" if most else last


@dataclass
class Faults:
    """What is wrong with the files of a data set, each with what to do about it."""

    found: list[tuple[str, str]] = field(default_factory=list)
    """What is wrong with which file, and the remedy, without a full stop."""

    def add(self, what: str, remedy: str) -> None:
        """Note one."""
        self.found.append((what, remedy))

    def refuse(self, count: int) -> None:
        """Raise `Refused` if there is one among ``count`` files, with the first `NAMED` of them."""
        if not self.found:
            return
        if len(self.found) == 1:
            raise Refused("{}; {}.".format(*self.found[0]))
        more = len(self.found) - NAMED
        lines = [f"  {what}" for what, _ in self.found[:NAMED]]
        lines += [f"  and {more} more"] if more > 0 else []
        remedies = "; ".join(dict.fromkeys(remedy for _, remedy in self.found))
        text = "\n".join([f"{len(self.found)} of {count} images cannot be used:", *lines])
        raise Refused(f"{text}\n{remedies[0].upper()}{remedies[1:]}.")


def tell_passed_over(root: Path, passed: Sequence[Path]) -> None:
    """Warn of what lies in ``root`` and is not read, by number and by name."""
    folders = [path for path in passed if path.is_dir()]
    plain = [path for path in passed if not path.is_dir()]
    parts = [
        f"{len(paths)} {kind}{'s' if len(paths) > 1 else ''} "
        f"({listed(path.relative_to(root).as_posix() for path in paths)})"
        for kind, paths in (("file", plain), ("folder", folders))
        if paths
    ]
    if parts:
        log.warning("Passed over in %s: %s.", root, " and ".join(parts))
