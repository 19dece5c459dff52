"""Once every strategy has read what a leaver sent, it goes from the disk, and that is shown."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fedunlearn.experiment.checkpoint import RunState
from fedunlearn.history import Purge, purged, to_purge
from fedunlearn.history.audit import Fingerprints, Mark, audit, files_of
from fedunlearn.unlearning import Request


@dataclass(frozen=True, slots=True)
class Erasure:
    """Where a run's rounds lie, and what else is searched for the leavers."""

    folder: Path
    """Of the run."""
    rounds: Path
    """Where the rounds of this seed go that are on disk; in ``folder``."""
    caches: tuple[Path, ...]
    """Folders that are searched besides."""
    roots: Mapping[str, object]
    """What the server keeps besides its state, by name."""

    def due(self, at: RunState, request: Request, prints: Fingerprints) -> RunState:
        """Return the state from which `carried_out` goes on, if need be in another process."""
        assert at.current is not None
        plan = to_purge(at.current.history, request.clients, self.rounds)
        steps = [
            {**asdict(step), "file": step.file.relative_to(self.folder).as_posix()} for step in plan
        ]
        return replace(at, purging={"steps": steps, "prints": packed(prints)})

    def carried_out(self, at: RunState) -> RunState:
        """Remove what is due, search for what is left, and note both; again after a crash."""
        if at.purging is None or at.current is None:
            return at
        steps = at.purging["steps"]
        plan = [Purge(**{**step, "file": self.folder / step["file"]}) for step in steps]
        history = purged(at.current.history, plan)
        found = audit(
            self.folder,
            unpacked(at.purging["prints"]),
            files_of(history.rounds),
            {"state": replace(at, current=replace(at.current, history=history)), **self.roots},
            rounds=self.rounds,
            caches=self.caches,
            known=at.references.values(),
        )
        noted = {
            "seed": at.seed,
            "request": at.current.request,
            "purged": steps,
            "findings": [self._relative(finding.what) for finding in found.findings],
            "files": found.files,
            "objects": found.objects,
            "blank": len(found.blank),
        }
        current = replace(at.current, history=history)
        return replace(at, current=current, purging=None, erased=[*at.erased, noted])

    def _relative(self, sentence: str) -> str:
        for place in (self.folder, *self.caches):
            named = f"{place.name}/" if place in self.caches else ""
            sentence = sentence.replace(f"{place}/", named)
        return sentence


def packed(prints: Fingerprints) -> str:
    """Return fingerprints as text for a checkpoint, in a form in which no audit finds them."""
    plain = {
        "leavers": sorted(prints.leavers),
        "d": prints.d,
        "windows": [
            [window.hex(), [asdict(mark) for mark in marks]]
            for window, marks in prints.windows.items()
        ],
        "blank": list(prints.blank),
    }
    return zlib.compress(json.dumps(plain).encode()).hex()


def unpacked(text: str) -> Fingerprints:
    """Return what `packed` took."""
    plain: dict[str, Any] = json.loads(zlib.decompress(bytes.fromhex(text)))
    return Fingerprints(
        leavers=frozenset(plain["leavers"]),
        d=plain["d"],
        windows={
            bytes.fromhex(window): tuple(Mark(**mark) for mark in marks)
            for window, marks in plain["windows"]
        },
        blank=tuple((client, number) for client, number in plain["blank"]),
    )
