"""How the updates of clients who left go from the disk."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

from fedunlearn import files
from fedunlearn.data import ClientId
from fedunlearn.history import round_files
from fedunlearn.history.history import History
from fedunlearn.history.needs import Needs
from fedunlearn.history.rounds import RecordedRound
from fedunlearn.history.stored_round import StoredRound


@dataclass(frozen=True, slots=True)
class Purge:
    """What becomes of one file of a history when clients leave."""

    file: Path
    clients: tuple[ClientId, ...]
    """Those who left and whose rows it holds."""
    nbytes: int
    """Bytes that go: their rows, or the whole file."""
    deleted: bool
    """Whether the file goes: nobody else is left in it, or a rollback replaced its round."""


def to_purge(history: History, clients: Set[ClientId], folder: Path) -> list[Purge]:
    """List what is to go from the disk when ``clients`` were forgotten.

    ``history`` is the one after that: of theirs it shows what they have sent since, if they stay
    with other records, and nothing else. Every other round file in ``folder`` goes. In memory
    there is nothing to do: what no history holds is gone.
    """
    stored = (each for each in map(on_disk, history.rounds) if each is not None)
    shown = {each.path: set(each.clients) for each in stored}
    purges = []
    for path in sorted(folder.rglob("round-*.safetensors")):
        held = round_files.open_round(path)
        theirs = held.only(clients - shown.get(path, set()))
        if path not in shown:
            purges.append(Purge(path, theirs.clients, path.stat().st_size, True))
        elif theirs.clients:
            rows = theirs.reduced(Needs(updates=True)).nbytes
            purges.append(Purge(path, theirs.clients, rows, False))
    return purges


def purged(history: History, plan: Iterable[Purge]) -> History:
    """Carry out ``plan``, as often as it takes; return ``history`` with the new files."""
    shown = {stored.path: stored for stored in map(on_disk, history.rounds) if stored is not None}
    for step in plan:
        if step.deleted:
            files.remove(step.file)
        else:
            kept = round_files.rewrite_without(shown[step.file], set(step.clients))
            shown[step.file] = kept
    rounds = (_fresh(kept, shown) for kept in history.rounds)
    return replace(history, rounds=tuple(rounds))


def _fresh(kept: RecordedRound, shown: Mapping[Path, StoredRound]) -> RecordedRound:
    stored = on_disk(kept)
    return kept if stored is None else shown[stored.path]


def on_disk(kept: RecordedRound) -> StoredRound | None:
    """Return a round that is on disk, waiting for it to be written; None for one in memory."""
    return kept.written() if isinstance(kept, StoredRound) else None
