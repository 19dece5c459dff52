"""Where a run stands as tensors and plain values, so that another process can go on from there."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fedunlearn import files, sealed_files
from fedunlearn.history import (
    History,
    RecordedRound,
    Round,
    StoredRound,
    Window,
    encodings,
    on_disk,
    round_files,
)
from fedunlearn.unlearning import FederationState

FINAL = "final"

STATISTICS = "statistics."


@dataclass
class StateFiles:
    """Describes states of a federation; rounds that are in memory get a file each, written once.

    Rounds on disk are named and described by what strategies are shown of them; paths are
    relative to ``root``.
    """

    root: Path
    folder: Path
    """Where rounds go that are in memory; in ``root``."""
    _written: dict[tuple[int, ...], tuple[Round, StoredRound]] = field(default_factory=dict)
    """By what a round holds; the rounds themselves are kept so that no number is used twice."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def describe(self, current: FederationState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the plain values that `restore` takes.

        Returns only once all rounds are on disk; raises `Refused` where the disk refuses.
        """
        plain = {
            "present": sorted(current.present),
            "since": sorted(current.since.items()),
            "round": current.round,
            "request": current.request,
            "rounds": [self._described(kept) for kept in current.history.rounds],
            "statistics": current.history.statistics is not None,
            "window": asdict(current.history.window),
            "forgot": current.history.forgot,
            "notes": dict(current.history.notes),
        }
        sums = (current.history.statistics or {}).items()
        tensors = {f"{STATISTICS}{client}": tensor for client, tensor in sums}
        return {FINAL: current.history.final, **tensors}, plain

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        plain: Mapping[str, Any],
        empty: History,
        *,
        purging: bool,
    ) -> FederationState:
        """Rebuild a state; ``empty`` is the history before round 1.

        Raises `DamagedFile` for a round that is not as it was written or, unless leavers are
        ``purging`` from them, not the one that was described.
        """
        if not purging:
            for entry in plain["rounds"]:
                self._require_described(entry)
        rounds = tuple(self._restored(entry) for entry in plain["rounds"])
        sums = {
            int(name.removeprefix(STATISTICS)): tensor
            for name, tensor in tensors.items()
            if name.startswith(STATISTICS)
        }
        history = replace(
            empty,
            final=tensors[FINAL],
            rounds=rounds,
            statistics=sums if plain["statistics"] else None,
            window=Window(plain["window"]["seen"], tuple(plain["window"]["scores"])),
            forgot=plain["forgot"],
            notes=plain["notes"],
        )
        present = frozenset(plain["present"])
        since = dict(plain["since"])
        return FederationState(history, present, plain["round"], plain["request"], since)

    def sweep(self, plains: Iterable[Mapping[str, Any]], *folders: Path) -> None:
        """Delete the files in ``folders`` of rounds that none of ``plains`` describes."""
        wanted = {self.root / entry["file"] for plain in plains for entry in plain["rounds"]}
        for folder in (self.folder, *folders):
            for path in folder.rglob("*round-*"):
                if path not in wanted:
                    files.remove(path)
        self._written = {key: at for key, at in self._written.items() if at[1].path in wanted}

    def _described(self, kept: RecordedRound) -> dict[str, Any]:
        stored = on_disk(kept)
        in_memory = stored is None
        if stored is None:
            assert isinstance(kept, Round)
            stored = self._write(kept)
        path = stored.path if stored.path.is_relative_to(self.root) else self._adopt(stored.path)
        return {
            "file": path.relative_to(self.root).as_posix(),
            "sha256": sealed_files.claimed(path),
            "clients": list(stored.clients),
            "updates": stored.has_updates,
            "model": stored.has_model,
            "memory": in_memory,
        }

    def _adopt(self, path: Path) -> Path:
        """Give a file of another folder a second name here."""
        linked = self._unused(path.stem)
        files.link(path, linked)
        return linked

    def _unused(self, name: str) -> Path:
        """Return a new place: what an earlier process wrote may still be wanted."""
        numbered = (self.folder / f"{name}-{n:06d}.safetensors" for n in self._numbers)
        return next(path for path in numbered if not path.exists())

    def _write(self, done: Round) -> StoredRound:
        key = (id(done.updates.deltas), id(done.broadcast), done.number)
        if key not in self._written:
            path = self._unused(f"round-{done.number:06d}")
            self._written[key] = done, round_files.write(path, done, encodings.Float32())
        return self._written[key][1]

    def _require_described(self, entry: Mapping[str, Any]) -> None:
        path = self.root / entry["file"]
        if sealed_files.claimed(path) != entry["sha256"]:
            raise files.DamagedFile(path, "it is not the round that the checkpoint names")

    def _restored(self, entry: Mapping[str, Any]) -> RecordedRound:
        stored = round_files.open_round(self.root / entry["file"]).only(set(entry["clients"]))
        shown = replace(stored, has_updates=entry["updates"], has_model=entry["model"])
        if not entry["memory"]:
            return shown
        model = shown.broadcast
        model = None if model is None else model.clone()
        sent = replace(shown.updates, deltas=shown.updates.deltas.clone())
        done = Round(shown.number, sent, shown.cohort_examples, model)
        self._written[id(sent.deltas), id(model), done.number] = done, shown
        return done
