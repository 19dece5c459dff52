"""Writing a run's folder: its files are the interface for everybody's notebooks.

The columns are in `runs`, which also reads the files back.
"""

import csv
import hashlib
import io
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from safetensors.torch import save

from fedunlearn import files
from fedunlearn.experiment.loggers import Log, Silent, replay
from fedunlearn.models import Layout, Vector
from fedunlearn.results import (
    ANSWER_COLUMNS,
    CLIENT_COLUMNS,
    LEDGER_COLUMNS,
    MANIFEST_FILE,
    METRIC_COLUMNS,
    MODELS_FOLDER,
    REQUEST_COLUMNS,
    VERDICT_COLUMNS,
    Case,
    manifest_text,
    require_checksum,
    summary_columns,
    unlike_written,
)
from fedunlearn.unlearning import Charge, Moment


class RunFolder:
    """The folder of one run.

    metrics.csv and ledger.csv grow while the run works, and every row is with the operating
    system before the call returns; everything else is replaced as a whole. Whatever cannot be
    written raises `Refused` with the file's name.
    """

    def __init__(
        self,
        path: Path,
        needed_bytes: int = 0,
        sizes: tuple[int, int] | None = None,
        checksums: Mapping[str, str] | None = None,
        log: Log | None = None,
        free_on: Callable[[Path], int] = files.free_bytes,
    ) -> None:
        """Make the folder and start its files anew, or refuse before anything is lost.

        ``needed_bytes`` must be free on the disk, and `files.MARGIN` more. Given ``sizes``, the
        folder is one that a run was killed in: metrics.csv and ledger.csv are cut to so many
        bytes, and everything else stays, unless it is not what ``checksums`` say that the run
        wrote: then `Refused` is raised. ``log`` is given a copy of all rows of metrics.csv, those
        that stay included. ``free_on`` is as for `files.require_space`.
        """
        self.path = path
        self._log = log or Silent()
        files.require_space(path, needed_bytes, free_on)
        metrics, ledger = sizes or (None, None)
        self._checksums = dict(checksums or {})
        grown = [self._checksums.pop(name, None) for name in ("metrics.csv", "ledger.csv")]
        self._require_models()
        self._metrics = _Growing(path / "metrics.csv", METRIC_COLUMNS, metrics, grown[0])
        self._ledger = _Growing(path / "ledger.csv", LEDGER_COLUMNS, ledger, grown[1])
        self._clients: dict[int, list[Sequence[object]]] = {}
        if sizes is None:
            self._table("clients.csv", list(CLIENT_COLUMNS), [])
            self.summary([])
        else:
            replay(self._log, (path / "metrics.csv").read_bytes())

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of metrics.csv and of ledger.csv so far."""
        return self._metrics.size, self._ledger.size

    @property
    def checksums(self) -> dict[str, str]:
        """The SHA-256 of what was written of each file so far, but for the manifest."""
        grown = {"metrics.csv": self._metrics.sha256, "ledger.csv": self._ledger.sha256}
        return dict(sorted({**self._checksums, **grown}.items()))

    def require_intact(self) -> None:
        """Raise `Refused` for a file that is not what was written."""
        for name, wanted in self.checksums.items():
            require_checksum(self.path / name, wanted)

    def __enter__(self) -> Self:
        """Return the folder, to be closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files that grow."""
        self.close()

    def close(self) -> None:
        """Close the files that grow."""
        self._metrics.close()
        self._ledger.close()

    def metrics(
        self, seed: int, strategy: str, moment: Moment, values: Mapping[str, float]
    ) -> None:
        """Add the metrics of one model, in the order given."""
        when = (seed, strategy, moment.request, moment.phase, moment.round)
        self._metrics.add((*when, name, float(value)) for name, value in values.items())
        self._log.metrics(seed, strategy, moment, values)

    def charges(self, seed: int, strategy: str, charges: Iterable[Charge]) -> None:
        """Add what one or more rounds cost."""
        self._ledger.add(
            (
                *(seed, strategy, c.moment.request, c.moment.phase, c.moment.round, c.client),
                *(c.bytes_down, c.bytes_up, c.samples, float(c.seconds)),
            )
            for c in charges
        )

    def clients(
        self, seed: int, labels: Sequence[str], train: np.ndarray, heldout: np.ndarray
    ) -> None:
        """Say how many records of each label every client has; both are [clients, labels]."""
        self._clients[seed] = [
            (seed, client, label, int(train[client, column]), int(heldout[client, column]))
            for client in range(len(train))
            for column, label in enumerate(labels)
        ]
        self._table(
            "clients.csv", list(CLIENT_COLUMNS), chain.from_iterable(self._clients.values())
        )

    def summary(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Replace summary.csv; a metric that a row lacks is left empty there."""
        columns = summary_columns(rows)
        cells = [[row.get(column, "") for column in columns] for row in rows]
        self._table("summary.csv", columns, cells)

    def requests(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Replace requests.csv."""
        cells = [[row[column] for column in REQUEST_COLUMNS] for row in rows]
        self._table("requests.csv", list(REQUEST_COLUMNS), cells)

    def verdicts(self, rows: Iterable[Mapping[Hashable, object]]) -> None:
        """Replace verdicts.csv."""
        cells = [[row[column] for column in VERDICT_COLUMNS] for row in rows]
        self._table("verdicts.csv", list(VERDICT_COLUMNS), cells)

    def answers(self, rows: Iterable[Mapping[Hashable, object]]) -> None:
        """Replace answers.csv."""
        self._table(
            "answers.csv",
            list(ANSWER_COLUMNS),
            ([row[name] for name in ANSWER_COLUMNS] for row in rows),
        )

    def manifest(self, content: Mapping[str, object]) -> None:
        """Replace manifest.json."""
        files.write(self.path / MANIFEST_FILE, manifest_text(content).encode())

    def copied(self, metrics: bytes, ledger: bytes, models: Mapping[str, bytes]) -> None:
        """Add rows and models, by the names of their files, as another run wrote them."""
        for name, content in models.items():
            self._write(f"{MODELS_FOLDER}/{name}", content)
        self._metrics.write(metrics)
        self._ledger.write(ledger)
        replay(self._log, metrics)

    def model(self, case: Case, layout: Layout, weights: Vector) -> Path:
        """Write the `Case.model_file`: tensors by name, as load_state_dict takes them."""
        return self._write(case.model_file, save(layout.saved(weights)))

    def _write(self, name: str, content: bytes) -> Path:
        path = files.write(self.path / name, content)
        self._checksums[name] = hashlib.sha256(content).hexdigest()
        return path

    def _require_models(self) -> None:
        """Raise `Refused` for a model that is not what was written: no other file is kept."""
        for name, wanted in self._checksums.items():
            if name.startswith(f"{MODELS_FOLDER}/"):
                require_checksum(self.path / name, wanted)

    def _table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self._write(name, _lines([columns, *rows]).encode())


class _Growing:
    """A table that rows are added to; nothing waits in a buffer."""

    def __init__(
        self, path: Path, columns: Iterable[str], size: int | None, checksum: str | None
    ) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if size is not None:
                self._digest.update(path.read_bytes()[:size])
                if checksum not in (None, self.sha256):
                    raise unlike_written(path)
            self._stream = path.open("wb" if size is None else "r+b", buffering=0)
            if size is not None:
                self._stream.seek(self._stream.truncate(size))
        except OSError as error:
            raise files.unwritable(path, error) from error
        if size is None:
            self.add([tuple(columns)])

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._stream.tell()

    @property
    def sha256(self) -> str:
        """Of all that was written so far."""
        return self._digest.hexdigest()

    def add(self, rows: Iterable[Sequence[object]]) -> None:
        """Write rows; raises `Refused` where the disk takes only a part of them."""
        self.write(_lines(rows).encode())

    def write(self, content: bytes) -> None:
        """Write whole rows; raises as `add`."""
        try:
            while content:
                written = self._stream.write(content)
                self._digest.update(content[:written])
                content = content[written:]
        except OSError as error:
            raise files.unwritable(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _lines(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """Write a float in the shortest form that reads back as itself, and nan as nothing."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return "" if math.isnan(value) else repr(float(value))
    return value
