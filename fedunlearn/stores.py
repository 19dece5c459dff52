"""Where the server keeps rounds: in memory, on disk, or by their size; and how they are purged."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from fedunlearn import checks, encodings, files, round_files
from fedunlearn.history import ClientId, History, Keep, Kept, Needs, Round, in_memory
from fedunlearn.recorder import PendingRound, Recorder
from fedunlearn.stored_round import StoredRound

Keeper = Callable[[Round], Kept]
"""Takes a round that is to be kept and returns what strategies will read."""


class Store(Protocol):
    """What the server keeps of training, and where: a frozen dataclass, named in conf/history.

    `history.Keep` keeps all in memory.
    """

    def check(self, strategy: str, needs: Needs) -> None:
        """Raise `Refused` if ``strategy`` needs what is not kept."""

    def on_disk(self, nbytes: int) -> bool:
        """Say whether rounds that take ``nbytes`` in memory go to disk."""

    @property
    def encoding(self) -> str:
        """How updates on disk are stored; see `encodings.of`."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Keep rounds on disk, one file each in the run's folder, and read them when asked.

    Up to ``limit`` bytes of them stay in memory after all, as they are and not encoded.
    """

    updates: bool = True
    models: bool = True
    encoding: str = "float32"
    """float32, bfloat16, float16, int8, or topk-0.1 for the tenth that is largest."""
    limit: float = 0

    def __post_init__(self) -> None:
        """Raise `Refused` for an encoding that does not exist."""
        encodings.of(self.encoding)
        checks.number("history.limit", self.limit, at_least=0)

    def check(self, strategy: str, needs: Needs) -> None:
        """Raise `Refused` if ``strategy`` needs what is not kept."""
        Keep(self.updates, self.models).check(strategy, needs)

    def on_disk(self, nbytes: int) -> bool:
        """Say whether ``nbytes`` exceed the limit."""
        return nbytes > self.limit


@contextmanager
def opened(store: Store, folder: Path, nbytes: int) -> Iterator[Keeper]:
    """Open ``folder`` for rounds that take ``nbytes`` in memory; written are all at the end."""
    if not store.on_disk(nbytes):
        yield in_memory
        return
    with Recorder(folder, encodings.of(store.encoding)) as recorder:
        yield recorder.keep


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
    """List what is to go from the disk when ``clients`` have left.

    ``history`` is the one after they left, which shows nothing of theirs; every other round file
    in ``folder`` goes. In memory there is nothing to do: what no history holds is gone.
    """
    shown = {stored.path for stored in map(on_disk, history.rounds) if stored is not None}
    found = []
    for path in sorted(folder.rglob("round-*.safetensors")):
        held = round_files.open_round(path)
        theirs = held.only(clients)
        if path not in shown:
            found.append(Purge(path, theirs.clients, path.stat().st_size, True))
        elif theirs.clients:
            rows = theirs.reduced(Needs(updates=True)).nbytes
            found.append(Purge(path, theirs.clients, rows, False))
    return found


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


def _fresh(kept: Kept, shown: Mapping[Path, StoredRound]) -> Kept:
    stored = on_disk(kept)
    return kept if stored is None else shown[stored.path]


def on_disk(kept: Kept) -> StoredRound | None:
    """Return a round that is on disk, waiting for it to be written; None for one in memory."""
    if isinstance(kept, PendingRound):
        return kept.stored
    return kept if isinstance(kept, StoredRound) else None
