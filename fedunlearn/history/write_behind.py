"""Rounds go to disk behind training's back: it waits only where the disk falls too far behind."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Self

from fedunlearn import checks, files
from fedunlearn.files import DamagedFile
from fedunlearn.history import round_files
from fedunlearn.history.encodings import Encoding
from fedunlearn.history.rounds import Round
from fedunlearn.history.stored_round import StoredRound
from fedunlearn.sealed_files import PARTIAL, Stamp


class Recorder:
    """Writes rounds into a folder by one thread, in the order in which they are kept.

    Once a round cannot be written, no later one is: a folder never has gaps. For one producer.
    """

    def __init__(
        self,
        folder: Path,
        encoding: Encoding,
        queue: int = 4,
        write: Callable[[Path, Round, Encoding], StoredRound] = round_files.write,
    ) -> None:
        """Make the folder and remove what a killed process left half written there.

        At most ``queue`` rounds wait, and one more is being written, by ``write``.
        """
        checks.whole("queue", queue)
        self.folder = folder
        self.encoding = encoding
        self._write = write
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for partial in folder.glob(f".round-*{PARTIAL}"):
                partial.unlink()
        except OSError as error:
            raise files.unwritable(folder, error) from error
        self._waiting: Queue[tuple[Round, Future[Stamp]] | None] = Queue(queue)
        self._kept: set[int] = set()
        self._error: BaseException | None = None
        self._closed = False
        self._thread = Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def record(self, done: Round) -> StoredRound:
        """Hand over a round; waits while as many rounds as the queue takes wait already.

        Raises what went wrong with an earlier one: `Refused` where the disk or the encoding did.
        """
        if self._closed:
            raise RuntimeError(f"Round {done.number} comes after the recorder was closed.")
        if done.number in self._kept:
            raise ValueError(f"Round {done.number} is kept already; each has one file.")
        self._raise()
        written: Future[Stamp] = Future()
        self._waiting.put((done, written))
        self._kept.add(done.number)
        path = file_of(self.folder, done.number)
        return round_files.described(path, done, self.encoding, written)

    def close(self) -> None:
        """Wait until everything is on disk and end the thread; raises as `keep` does."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
        self._raise()

    def __enter__(self) -> Self:
        """Return the recorder, to be closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; an error of the block itself comes first."""
        if error is None:
            self.close()
        else:
            with suppress(Exception):
                self.close()

    def _raise(self) -> None:
        if self._error:
            raise self._error

    def _work(self) -> None:
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        """Write the round that waits longest; its own scope, so that nothing outlives it."""
        item = self._waiting.get()
        if item is None:
            return False
        done, written = item
        try:
            self._raise()
            path = file_of(self.folder, done.number)
            written.set_result(self._write(path, done, self.encoding).verified)
        except BaseException as error:  # a thread that died would let the producer wait for ever
            self._error = error
            written.set_exception(error)
        return True


def file_of(folder: Path, number: int) -> Path:
    """Return where a folder has a round."""
    return folder / f"round-{number:06d}.safetensors"


def open_rounds(folder: Path) -> tuple[StoredRound, ...]:
    """Verify every round in a folder and return them, oldest first; raises `DamagedFile`."""
    rounds = [round_files.open_round(path) for path in folder.glob("round-*.safetensors")]
    for stored in rounds:
        if stored.path != file_of(folder, stored.number):
            raise DamagedFile(stored.path, f"it holds round {stored.number}")
    return tuple(sorted(rounds, key=lambda stored: stored.number))
