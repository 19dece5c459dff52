"""A shared cache: federations that were trained once, and references retrained once.

An entry is a folder named by the SHA-256 of all that its numbers depend on: the configuration of
data, model, training, requests and evaluators, the seed, the data themselves, the packages'
versions, and the code. It holds every round with everything in it, leavers included: it belongs to
the experimenter, and no server that has to forget would keep it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedunlearn
from fedunlearn import files, history
from fedunlearn.checks import Refused
from fedunlearn.files import DamagedFile
from fedunlearn.locks import in_turn
from fedunlearn.results import MODELS_FOLDER, require_checksum, require_this_version

if TYPE_CHECKING:
    from fedunlearn.experiment.checkpoint import Loaded, RunState

FACTS = "facts.json"

TABLES = ("metrics.csv", "ledger.csv")

SHOWING = ("results", "attacks", "history/audit", "experiment/estimate", "experiment/loggers")
"""The rooms of this package that no number of a training depends on."""

COUNTING = ("results/branches.py",)
"""What lies there and counts all the same: the number of a reference decides its first model."""


def code_hash(*further: Path) -> str:
    """Return the SHA-256 of the code that trains, and of the files ``further``."""
    root = Path(fedunlearn.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        shows = any(name.startswith(f"{room}/") for room in SHOWING)
        if not shows or name in COUNTING:
            digest.update(f"{name}\0".encode() + path.read_bytes())
    for path in further:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One folder of the cache."""

    folder: Path
    facts: Mapping[str, Any]
    """All that its numbers depend on."""

    @property
    def complete(self) -> bool:
        """Whether it may be read: folders get their name once they are whole."""
        return (self.folder / FACTS).is_file()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other process makes or reads this entry, and let none do so meanwhile."""
        with in_turn(self.folder.parent / f".{self.folder.name}.lock"):
            yield

    def put(self, state: RunState, run: Path, models: Mapping[str, str]) -> None:
        """Fill the entry: where the run in ``run`` stands, its rows since it began, and ``models``.

        ``models`` are the SHA-256 of files of the run by name. Rounds on disk are linked, or copied
        where links cannot be. Raises `Refused` where the disk refuses, and for a model that is not
        what the run wrote; then there is no entry.
        """
        from fedunlearn.experiment.checkpoint import Checkpoint

        partial = self.folder.with_name(f".{self.folder.name}.partial")
        files.remove(partial)
        Checkpoint(partial, self.folder.name).save(state)
        for name, first, last in zip(TABLES, state.began, state.sizes, strict=True):
            files.write(partial / name, (run / name).read_bytes()[first:last])
        for name, checksum in models.items():
            path = files.write(
                partial / MODELS_FOLDER / name, (run / MODELS_FOLDER / name).read_bytes()
            )
            require_checksum(path, checksum)
        made = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "models": dict(models)}
        tables = {name: files.sha256(partial / name) for name in TABLES}
        text = json.dumps({"facts": self.facts, "tables": tables, **made}, indent=2, sort_keys=True)
        files.write(partial / FACTS, f"{text}\n".encode())
        try:
            partial.rename(self.folder)
        except OSError as error:
            raise files.unwritable(self.folder, error) from error

    def take(self) -> Taken:
        """Read the entry, whose turn it must be. Raises `DamagedFile` unless it is whole."""
        from fedunlearn.experiment.checkpoint import Checkpoint  # with torch, which ls spares

        described = _described(self.folder)
        if described["facts"] != json.loads(json.dumps(self.facts)):
            raise DamagedFile(self.folder / FACTS, "it belongs to another training")
        tables = [_whole(self.folder / name, described["tables"].get(name)) for name in TABLES]
        loaded = Checkpoint(self.folder, self.folder.name).load()
        if loaded is None:
            raise DamagedFile(self.folder, "it lacks its checkpoint")
        folder = self.folder / MODELS_FOLDER
        models = {name: _whole(folder / name, sha) for name, sha in described["models"].items()}
        if {path.name for path in folder.glob("*")} != models.keys():
            raise DamagedFile(folder, "it does not hold the models that its facts name")
        return Taken(loaded, tables[0], tables[1], models)


@dataclass(frozen=True, slots=True)
class Taken:
    """What an entry holds."""

    loaded: Loaded
    metrics: bytes
    """Rows of metrics.csv."""
    ledger: bytes
    """Rows of ledger.csv; their seconds are those of the run that made the entry."""
    models: Mapping[str, bytes]
    """Files of the folder ``models``."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries that any number of processes share."""

    folder: Path

    def entry(self, kind: str, facts: Mapping[str, Any]) -> Entry:
        """Return the place of what these facts determine, be it there or not."""
        whole = {"kind": kind, **facts}
        return Entry(self.folder / _name(whole), whole)

    def entries(self) -> list[Entry]:
        """Return what is there, oldest first; raises `DamagedFile` for an entry without facts."""
        folders = [path for path in self.folder.glob("*-*") if path.name[0] != "."]
        described = [(_described(path), path) for path in sorted(folders)]
        described.sort(key=lambda pair: str(pair[0]["made"]))
        return [Entry(path, described["facts"]) for described, path in described]

    def verify(self, entry: Entry) -> None:
        """Read an entry to the last byte; raises `DamagedFile` unless it is as it was made.

        Raises `Refused` for an entry of another version of fedunlearn.
        """
        require_this_version(entry.folder, entry.facts.get("versions"))
        with entry.turn():
            entry.take()
            for path in (entry.folder / "checkpoint" / "rounds").glob("*.safetensors"):
                history.round_files.open_round(path)

    def remove(self, entry: Entry) -> None:
        """Delete an entry; whoever is reading it finishes first."""
        with entry.turn():
            files.remove(entry.folder)
        files.remove(self.folder / f".{entry.folder.name}.lock")


def nbytes(entry: Entry) -> int:
    """Return the bytes of all files of an entry."""
    return sum(path.stat().st_size for path in entry.folder.rglob("*") if path.is_file())


def _name(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True)
    return f"{facts['kind']}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _described(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    described = files.read_json(path, "the facts of an entry of the cache")
    if not isinstance(described, dict) or described.keys() != {"facts", "tables", "made", "models"}:
        raise DamagedFile(path, "it does not describe an entry of the cache")
    parts = all(isinstance(described[name], dict) for name in ("facts", "tables", "models"))
    if not parts or not isinstance(described["made"], str):
        raise DamagedFile(path, "it does not describe an entry of the cache")
    if "kind" not in described["facts"] or folder.name != _name(described["facts"]):
        raise DamagedFile(path, "what it says is not what the entry is named after")
    return described


def _whole(path: Path, checksum: object) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFile(path, error) from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise DamagedFile(path, "its content does not match its checksum")
    return content


def require(folder: Path) -> Cache:
    """Return the cache in ``folder``; raise `Refused` where there is no such folder."""
    if not folder.is_dir():
        raise Refused(f"There is no cache in {folder}: cache=FOLDER of a run makes one.")
    return Cache(folder)
