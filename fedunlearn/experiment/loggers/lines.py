"""Lines: a CSV or JSON Lines file in the run's folder, which plain tools follow and read."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from fedunlearn import checks, files
from fedunlearn.experiment.loggers.log import numbers
from fedunlearn.experiment.loggers.round_numbers import RoundNumbers
from fedunlearn.unlearning import Moment

NAME = "log"
"""What the file is called, but for its suffix."""

COLUMNS = (
    *("run", "seed", "strategy", "request", "phase", "round", "global_round", "metric", "value"),
)
"""Of each line; the summary's numbers have the phase ``summary`` and no rounds."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Write ``log.csv`` or ``log.jsonl``: a line for each number, as soon as it is known."""

    format: Literal["csv", "jsonl"] = "csv"
    """csv has a header and one row a line, jsonl one object a line, without a header."""

    def __post_init__(self) -> None:
        """Raise `Refused` for an unknown format."""
        checks.fields(self)

    def start(self, run: Path, settings: Mapping[str, object], *, resumed: bool) -> "LineFile":
        """Begin anew: a run's folder has one log, which the next run in it replaces."""
        path = run / f"{NAME}.{self.format}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise files.unwritable(path, error) from error
        log = LineFile(path, stream, f"{run.parent.name}/{run.name}", self.format)
        if self.format == "csv":
            log.write([_csv_line(COLUMNS)])
        return log

    def figures(self, run: Path, drawn: Sequence[Path]) -> None:
        """Add nothing: figures lie beside the file."""


@dataclass(slots=True)
class LineFile(AbstractContextManager[Any]):
    """The file of one run, which grows; nothing waits in a buffer between two models."""

    path: Path
    stream: TextIO
    run: str
    format: Literal["csv", "jsonl"]
    rounds: RoundNumbers = field(default_factory=RoundNumbers)

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.stream.close()

    def metrics(
        self, seed: int, strategy: str, moment: Moment, values: Mapping[str, float]
    ) -> None:
        """Add a line for each metric of one model; one without a value gets none."""
        number = self.rounds.number(seed, strategy, moment)
        when = (moment.request, moment.phase, moment.round, number)
        self._add((seed, strategy, *when), values)

    def summary(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add a line for each number of each row."""
        for row in rows:
            place = (row["seed"], row["strategy"], row["request"], "summary", None, None)
            self._add(place, numbers(row))

    def write(self, lines: Iterable[str]) -> None:
        """Write whole lines; raises `Refused` where the disk does not take them."""
        try:
            self.stream.write("".join(lines))
            self.stream.flush()
        except OSError as error:
            raise files.unwritable(self.path, error) from error

    def _add(self, place: Sequence[object], values: Mapping[str, float]) -> None:
        line = _csv_line if self.format == "csv" else _json_line
        self.write(line((self.run, *place, *pair)) for pair in numbers(values).items())


def _csv_line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow("" if cell is None else cell for cell in cells)
    return text.getvalue()


def _json_line(cells: Sequence[object]) -> str:
    row = zip(COLUMNS, cells, strict=True)
    return json.dumps({name: _plain(cell) for name, cell in row}, ensure_ascii=False) + "\n"


def _plain(cell: object) -> object:
    """Return infinities as text: JSON has no numbers for them."""
    return str(cell) if cell in (float("inf"), float("-inf")) else cell
