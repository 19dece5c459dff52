"""The files of a run as tables: their columns, and loading one run or many."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.results.checksums import listed_checksums, unlike_written
from fedunlearn.results.columns import (
    ANSWER_COLUMNS,
    CASE_COLUMNS,
    CLIENT_COLUMNS,
    COST_COLUMNS,
    GAP_SUFFIX,
    LEDGER_COLUMNS,
    METRIC_COLUMNS,
    REQUEST_COLUMNS,
    SCOPE_COLUMNS,
    VERDICT_COLUMNS,
)
from fedunlearn.results.manifest import (
    MANIFEST_FILE,
    listed_owners,
    read_manifest,
    require_finished,
)
from fedunlearn.results.versions import require_this_version


@dataclass(frozen=True)
class Run:
    """What one run wrote, or several: then every table starts with a column ``run``."""

    folder: Path
    metrics: pd.DataFrame
    ledger: pd.DataFrame
    summary: pd.DataFrame
    """Between the case and the costs: final metrics, then each one's ``<name>_gap``."""
    clients: pd.DataFrame
    manifest: dict[str, object]

    @property
    def owners(self) -> dict[int, str]:
        """What people call each client, where the data set names owners."""
        return listed_owners(self.manifest)


def load(folder: Path) -> Run:
    """Read a run's folder; raises `Refused` for files that are missing or not as written.

    Of a finished run the checksums in its manifest tell that; one that is not is `Unfinished`.

    A run of another version of fedunlearn is refused as well.
    """
    content = read_manifest(folder)
    require_this_version(folder, content.get("versions"))
    require_finished(folder, content)
    sums = listed_checksums(folder, content)
    return Run(
        folder=folder,
        metrics=_read(folder / "metrics.csv", METRIC_COLUMNS, sums),
        ledger=_read(folder / "ledger.csv", LEDGER_COLUMNS, sums),
        summary=_read(
            folder / "summary.csv",
            {**CASE_COLUMNS, **COST_COLUMNS, **SCOPE_COLUMNS},
            sums,
            others=True,
        ),
        clients=load_clients(folder),
        manifest=content,
    )


def load_clients(folder: Path) -> pd.DataFrame:
    """Read a run's clients.csv; raises `Refused` where it is missing or not as written.

    It has a row for each label of each client, under each seed.
    """
    path = folder / "clients.csv"
    table = _read(path, CLIENT_COLUMNS, _listed(folder))
    rows = table["seed"].nunique() * table["client"].nunique() * table["label"].nunique()
    cells = table.drop_duplicates(["seed", "client", "label"])
    if not len(cells) == len(table) == rows:
        raise Refused(f"{path} is cut off: it lacks rows of clients and labels.")
    return table


def load_answers(folder: Path) -> pd.DataFrame:
    """Read a run's answers.csv; raises `Refused` where it is missing or not as written."""
    return _read(folder / "answers.csv", ANSWER_COLUMNS, _listed(folder))


def load_metrics(folder: Path) -> pd.DataFrame:
    """Read a run's metrics.csv; raises `Refused` where it is missing or not as written."""
    return _read(folder / "metrics.csv", METRIC_COLUMNS, _listed(folder))


def load_requests(folder: Path) -> pd.DataFrame:
    """Read a run's requests.csv; raises `Refused` where it is missing or not as written."""
    return _read(folder / "requests.csv", REQUEST_COLUMNS, _listed(folder))


def load_verdicts(folder: Path) -> pd.DataFrame:
    """Read a run's verdicts.csv; raises `Refused` where it is missing or not as written."""
    return _read(folder / "verdicts.csv", VERDICT_COLUMNS, _listed(folder))


def metric_columns(summary: Iterable[object]) -> list[str]:
    """Return the columns of a summary that hold metrics: neither case, nor cost, nor gap."""
    fixed = {"run", *CASE_COLUMNS, *COST_COLUMNS, *SCOPE_COLUMNS}
    return [
        name for name in map(str, summary) if name not in fixed and not name.endswith(GAP_SUFFIX)
    ]


def load_many(folders: Sequence[Path]) -> Run:
    """Read several runs; the column ``run`` is the folder, seen from their common parent."""
    if not folders:
        raise Refused("There is no run to load.")
    places = [folder.resolve() for folder in folders]
    parent = Path(os.path.commonpath([place.parent for place in places]))
    runs = {place.relative_to(parent).as_posix(): load(place) for place in places}
    return Run(
        folder=parent,
        metrics=_joined({name: run.metrics for name, run in runs.items()}),
        ledger=_joined({name: run.ledger for name, run in runs.items()}),
        summary=_joined({name: run.summary for name, run in runs.items()}),
        clients=_joined({name: run.clients for name, run in runs.items()}),
        manifest={name: run.manifest for name, run in runs.items()},
    )


def find_runs(folder: Path) -> list[Path]:
    """Return ``folder`` itself if it is a run, else the runs in it; 2 comes before 10.

    A run is what holds metrics.csv or a manifest: whoever reads it says which one it lacks.
    Raises `Refused` where there is none.
    """
    marks = ("metrics.csv", MANIFEST_FILE)
    if any((folder / mark).exists() for mark in marks):
        return [folder]
    folders = {file.parent for mark in marks for file in folder.rglob(mark)}
    if not folders:
        raise Refused(f"{folder} holds no run: there is no metrics.csv in it or below it.")
    return sorted(folders, key=lambda run: [_numerically(part) for part in run.parts])


def summary_columns(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the columns of a summary with these rows: case, metrics, gaps, costs, scope."""
    fixed = {*CASE_COLUMNS, *COST_COLUMNS, *SCOPE_COLUMNS}
    measured = [name for name in dict.fromkeys(chain(*rows)) if name not in fixed]
    values = [name for name in measured if not name.endswith(GAP_SUFFIX)]
    return [
        *CASE_COLUMNS,
        *values,
        *(name for name in measured if name.endswith(GAP_SUFFIX)),
        *COST_COLUMNS,
        *SCOPE_COLUMNS,
    ]


def _listed(folder: Path) -> dict[str, str]:
    """Return the checksums in the manifest of a run, where it has one."""
    there = (folder / MANIFEST_FILE).exists()
    return listed_checksums(folder, read_manifest(folder)) if there else {}


def _read(
    path: Path,
    columns: Mapping[str, str],
    sums: Mapping[str, str],
    *,
    others: bool = False,
) -> pd.DataFrame:
    """Read a table and check it; ``others`` may stand between the columns named."""
    return typed(path, table_text(path, sums.get(path.name)), columns, others=others)


def typed(
    path: Path, text: str, columns: Mapping[str, str], *, others: bool = False
) -> pd.DataFrame:
    """Return the table that ``text`` of ``path`` is; ``others`` may stand between the columns.

    Raises `Refused` where it is none, or holds what is no number where one should be.
    """
    try:
        names, *rows = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    except csv.Error as error:
        raise Refused(f"{path} is no table ({error}): bring back an intact copy.") from error
    if (
        not set(columns) <= set(names)
        or len(set(names)) < len(names)
        or (len(names) > len(columns) and not others)
    ):
        raise Refused(
            f"{path} has the columns {', '.join(names)}; expected {', '.join(columns)}. Was it "
            "written by another version of fedunlearn?"
        )
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise Refused(f"{path} is cut off: line {number} has {len(row)} of {len(names)} cells.")
    table = pd.DataFrame(rows, columns=names, dtype="str")
    try:
        return pd.DataFrame(
            {name: _typed(table[name], columns.get(name, "float64")) for name in names}
        )
    except (ValueError, OverflowError) as error:
        raise Refused(f"{path} holds what is no number: {files.reason(error)}.") from error


def _typed(column: pd.Series, kind: str) -> pd.Series:
    if kind == "str":
        return column
    return column.replace("", "nan").astype(kind)  # type: ignore[call-overload, no-any-return]


def table_text(path: Path, checksum: str | None = None) -> str:
    """Return the text of a run's file; raises `Refused` where it has another SHA-256."""
    try:
        content = path.read_bytes()
        if checksum not in (None, hashlib.sha256(content).hexdigest()):
            raise unlike_written(path)
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            f"{path} cannot be read ({files.reason(error)}); {path.parent} is not the folder of a "
            "whole run."
        ) from error


def _joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    named = [table.assign(run=run)[["run", *table]] for run, table in tables.items()]
    return pd.concat(named, ignore_index=True)


def _numerically(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)
