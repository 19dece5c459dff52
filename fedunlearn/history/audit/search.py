"""Shows that nothing of who left remains, in files or in memory, or names what does.

What it sees, and what no search for bytes can see, is in docs/audit.md.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history.audit.files import files_of, search_files
from fedunlearn.history.audit.findings import Channel, Finding
from fedunlearn.history.audit.fingerprints import Fingerprints, taken
from fedunlearn.history.audit.objects import search_objects

__all__ = ["Audit", "Channel", "Finding", "Fingerprints", "audit", "files_of", "taken"]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was looked through, and what was found."""

    files: int
    bytes: int
    """Of the files."""
    objects: int
    """Reached in memory."""
    findings: tuple[Finding, ...]
    blank: tuple[tuple[ClientId, int], ...]
    """Client and round of updates too short or too common to be recognised: not looked for."""

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def audit(
    folder: Path,
    fingerprints: Fingerprints,
    claimed: Mapping[Path, Set[ClientId]],
    roots: Mapping[str, object],
    *,
    rounds: Path | None = None,
    caches: Sequence[Path] = (),
    expected: Iterable[Tensor] = (),
    beyond: Collection[object] = (),
) -> Audit:
    """Search the run's ``folder``, the ``caches``, and all that can be reached from ``roots``.

    The arguments are those of `search_files` and `search_objects`.
    """
    files, nbytes, findings = search_files(
        folder, fingerprints, claimed, rounds=rounds, caches=caches
    )
    objects, held = search_objects(roots, fingerprints, expected=expected, beyond=beyond)
    return Audit(files, nbytes, objects, (*findings, *held), fingerprints.blank)
