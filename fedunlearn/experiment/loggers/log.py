"""Copies of a run's numbers for tools that show them: metrics.csv stays the original.

A log is a function of metrics.csv. Where a killed run goes on, metrics.csv is cut to what was
finished; the log is then thrown away and filled anew from there, so that nothing is in it twice.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from fedunlearn.checks import Refused
from fedunlearn.unlearning import Moment


class Log(AbstractContextManager[Any], Protocol):
    """The log of one run at work; leaving it ends it."""

    def metrics(
        self, seed: int, strategy: str, moment: Moment, values: Mapping[str, float]
    ) -> None:
        """Add the metrics of one model."""

    def summary(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add the rows of the run's summary, once it is through."""


class Logger(Protocol):
    """A tool that numbers are copied to; a frozen set of values."""

    def start(self, run: Path, settings: Mapping[str, object], *, resumed: bool) -> Log:
        """Begin the log of the run in the folder ``run``.

        ``resumed`` says that the log of an earlier process in this folder is to be replaced.
        """

    def figures(self, run: Path, files: Sequence[Path]) -> None:
        """Add the figures of a run that is through; those of an earlier call are replaced."""


def require(package: str, name: str) -> None:
    """Raise `Refused` unless ``package`` is installed, which ``logger=name`` needs."""
    found = find_spec(package)
    if found is None or found.origin is None:  # a mere folder of that name, full of logs, say
        raise Refused(f"logger={name} needs {package}: pip install 'fedunlearn[{name}]'")


def run_name(seed: int, strategy: str) -> str:
    """Return what tools that have a run for each seed and strategy call one."""
    return f"{strategy}, seed {seed}"


def noted(note: Path) -> str:
    """Return what a logger noted in a file of the run's folder; empty where there is none."""
    return note.read_text(encoding="utf-8").strip() if note.exists() else ""


def replay(log: Log, rows: bytes) -> None:
    """Add to ``log`` the models that ``rows``, as in metrics.csv, hold."""
    for seed, strategy, moment, values in models(rows):
        log.metrics(seed, strategy, moment, values)


def models(rows: bytes) -> Iterator[tuple[int, str, Moment, dict[str, float]]]:
    """Yield seed, strategy, moment and metrics of each model in ``rows``, in their order.

    ``rows`` are lines of metrics.csv, with its header or without.
    """
    table = csv.reader(io.StringIO(rows.decode()))
    for when, lines in groupby(table, key=lambda row: row[:5]):
        seed, strategy, request, phase, number = when
        if seed == "seed":
            continue
        moment = Moment(phase, int(request), int(number))
        values = {metric: float(value or "nan") for *_, metric, value in lines}
        yield int(seed), strategy, moment, values


def numbers(row: Mapping[str, object]) -> dict[str, float]:
    """Return what there is of numbers in a row: nan is none, and neither say which row it is."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float)
        and not math.isnan(value)
        and name not in ("seed", "request")
    }


def flat(settings: Mapping[str, object], above: str = "") -> dict[str, str]:
    """Return nested settings as text by dotted name: ``{"a": {"b": 1}}`` as ``{"a.b": "1"}``."""
    text: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            text |= flat(value, f"{above}{name}.")
        else:
            text[f"{above}{name}"] = str(value)
    return text
