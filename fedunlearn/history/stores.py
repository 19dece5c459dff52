"""Where the server keeps rounds: in memory, on disk, or by their size."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedunlearn import checks
from fedunlearn.checks import NotNegative
from fedunlearn.history import encodings
from fedunlearn.history.needs import InMemory, Needs
from fedunlearn.history.rounds import RecordedRound, Round, in_memory
from fedunlearn.history.write_behind import Recorder

RecordRound = Callable[[Round], RecordedRound]
"""Takes a round that is to be kept and returns what strategies will read."""


class Store(Protocol):
    """What the server keeps of training, and where: a frozen dataclass, named in conf/history.

    `history.InMemory` keeps all in memory.
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
    """Whether clients' updates are kept where a strategy needs them."""
    models: bool = True
    """Whether broadcast models are kept where a strategy needs them."""
    encoding: encodings.Name = "float32"
    """How updates are stored on disk; topk-0.1 keeps the largest tenth."""
    limit: NotNegative = 0
    """Bytes up to which rounds stay in memory, as they are."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def check(self, strategy: str, needs: Needs) -> None:
        """Raise `Refused` if ``strategy`` needs what is not kept."""
        InMemory(self.updates, self.models).check(strategy, needs)

    def on_disk(self, nbytes: int) -> bool:
        """Say whether ``nbytes`` exceed the limit."""
        return nbytes > self.limit


@contextmanager
def opened(store: Store, folder: Path, nbytes: int) -> Iterator[RecordRound]:
    """Open ``folder`` for rounds that take ``nbytes`` in memory; written are all at the end."""
    if not store.on_disk(nbytes):
        yield in_memory
        return
    with Recorder(folder, encodings.of(store.encoding)) as recorder:
        yield recorder.record
