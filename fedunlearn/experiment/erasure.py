"""Once every strategy has read what a leaver sent, it goes from the disk, and that is shown."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fedunlearn.data import Federation
from fedunlearn.experiment.checkpoint import RunState
from fedunlearn.history import Purge, purged, to_purge
from fedunlearn.history.audit import Fingerprints, Mark, audit, files_of, taken


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

    def due(self, state: RunState, prints: Fingerprints) -> RunState:
        """Return the state from which `carried_out` goes on, if need be in another process."""
        plan = to_purge(state.current.history, prints.leavers, self.rounds)
        steps = [
            {**asdict(step), "file": step.file.relative_to(self.folder).as_posix()} for step in plan
        ]
        return replace(state, purging={"steps": steps, "prints": packed(prints)})

    def carried_out(self, state: RunState) -> RunState:
        """Remove what is due, search for what is left, and note both; again after a crash."""
        if state.purging is None:
            return state
        steps = state.purging["steps"]
        plan = [Purge(**{**step, "file": self.folder / step["file"]}) for step in steps]
        history = purged(state.current.history, plan)
        current = replace(state.current, history=history)
        roots = {"state": replace(state, current=current), **self.roots}
        report = audit(
            self.folder,
            unpacked(state.purging["prints"]),
            files_of(history.rounds),
            roots,
            rounds=self.rounds,
            caches=self.caches,
            expected=state.references.models.values(),
        )
        noted = {
            "seed": state.seed,
            "request": state.current.request,
            "purged": steps,
            "findings": [self._relative(finding.what) for finding in report.findings],
            "files": report.files,
            "objects": len(roots),  # what they lead to depends on the process
            "blank": len(report.blank),
        }
        return replace(state, current=current, purging=None, notes=state.notes.with_erased(noted))

    def _relative(self, sentence: str) -> str:
        for place in (self.folder, *self.caches):
            named = f"{place.name}/" if place in self.caches else ""
            sentence = sentence.replace(f"{place}/", named)
        return sentence


def prints_of(federation: Federation, state: RunState) -> Fingerprints:
    """Take the fingerprints of who asks next: of what they sent, and of the records that go."""
    erased = federation.holdings.erased(state.current.request + 1)
    records = {client: federation.train[client].inputs[mask] for client, mask in erased.items()}
    return taken(state.current.history, records.keys(), records)


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
