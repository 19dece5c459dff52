"""Tables as they lie in files: columns of numbers and of text, with what is missing marked."""

import csv
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fedunlearn import files
from fedunlearn.checks import Refused, shown
from fedunlearn.data.listed import listed

MISSING = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?"})
"""Cells of a CSV file in which there is nothing."""

DATE = r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ].*)?\s*"
"""What dates look like, with a time or without."""

TIME = r"\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*([ap]m)?\s*"
"""What times of day look like."""

ODD = (complex, np.complexfloating, bytes, Collection)
"""Cells that are neither numbers nor text, but for text itself."""

Values = npt.NDArray[Any]
"""A column [n]: float64 with NaN where there is nothing, or text with None."""


@dataclass(frozen=True)
class Table:
    """The columns of a file by name, in order."""

    columns: Mapping[str, Values]
    dates: frozenset[str]
    """Those that are dates or times."""
    where: str
    """The file, as refusals name it."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values()), ()))


def read_csv(path: Path, separator: str, encoding: str) -> Table:
    """Read a CSV file whose first row names the columns; raise `Refused` for what is none."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            header, *rows = list(csv.reader(file, delimiter=separator, strict=True)) or [[]]
    except UnicodeDecodeError as error:
        raise Refused(
            f"{path} is not {encoding}: byte {error.start} is {error.object[error.start]:#x}. "
            "Save it as UTF-8, or set dataset.encoding, to latin-1 say."
        ) from error
    except LookupError as error:
        raise Refused(f"dataset.encoding={encoding} is no encoding; try utf-8-sig.") from error
    except (csv.Error, TypeError) as error:
        raise Refused(f"{path} is no table of dataset.separator={separator!r}: {error}.") from error
    except OSError as error:
        raise Refused(f"dataset.path={path} cannot be read: {files.reason(error)}.") from error
    names = [name.strip() for name in header]
    rows = [row for row in rows if row]
    _check_header(names, len(rows), path, separator)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ragged = np.flatnonzero(lengths != len(names))
    if len(ragged):
        raise Refused(
            f"{path} has {len(names)} columns, but {len(ragged)} of its rows have more or fewer: "
            f"row {ragged[0] + 2} has {lengths[ragged[0]]}. Quote cells with a {separator} in them."
        )
    columns = {
        name: _parsed(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }
    dates = frozenset(name for name, values in columns.items() if _dated(values))
    return Table(columns, dates, str(path))


def read_arrow(paths: Sequence[Path], where: Path) -> Table:
    """Read Parquet files, or Arrow streams; raise `Refused` for what is none.

    So it is for columns of other things than numbers and text.
    """
    try:
        import pyarrow
        from pyarrow import ipc, memory_map, parquet
    except ImportError as error:
        raise Refused(
            f"Reading {where} needs pyarrow: pip install 'fedunlearn[parquet]'."
        ) from error
    try:
        parts = [
            ipc.open_stream(memory_map(str(path))).read_all()
            if path.suffix == ".arrow"
            else parquet.read_table(path)
            for path in paths
        ]
        return from_arrow(pyarrow.concat_tables(parts), str(where))
    except (pyarrow.ArrowException, OSError) as error:
        raise Refused(f"{where} is not a readable Parquet or Arrow file: {error}") from error


def from_arrow(table: Any, where: str) -> Table:
    """Return the columns of a pyarrow table; raise `Refused` for lists, structs and bytes."""
    import pyarrow
    from pyarrow import types

    _check_twice(table.column_names, where)
    if not len(table):
        raise Refused(f"{where} holds no rows.")
    columns: dict[str, Values] = {}
    dates = set()
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        if types.is_temporal(kind):
            dates.add(name)
        if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
            columns[name] = column.cast(pyarrow.float64()).to_numpy()
        elif types.is_decimal(kind):
            columns[name] = column.cast(pyarrow.float64(), safe=False).to_numpy()
        elif types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
            raise Refused(
                f"The column {name} of {where} is {kind}, and a table's cells are numbers or "
                "text. Leave it out when you write the file; images and embeddings are read by "
                "dataset=parquet and dataset=numpy."
            )
        else:
            columns[name] = column.cast(pyarrow.string()).to_numpy(zero_copy_only=False)
            dates |= {name} if _dated(columns[name]) else set()
    return Table(columns, frozenset(dates), where)


def from_frame(frame: pd.DataFrame, where: str, unread: Collection[str] = ()) -> Table:
    """Return the columns of a data frame; raise `Refused` for lists, bytes and complex numbers.

    Columns that are ``unread`` may hold those, and are empty then.
    """
    _check_twice([str(name) for name in frame.columns], where)
    if not len(frame):
        raise Refused(f"{where} holds no rows.")
    columns: dict[str, Values] = {}
    dates = set()
    for label, column in frame.items():
        name = str(label)
        if name in unread:
            columns[name] = np.full(len(frame), None)
            continue
        columns[name] = _values(column, f"The column {name} of {where}", name)
        period = isinstance(column.dtype, pd.PeriodDtype)
        timed = period or pd.api.types.is_datetime64_any_dtype(column) or column.dtype.kind == "m"
        dates |= {name} if timed or _dated(columns[name]) else set()
    return Table(columns, frozenset(dates), where)


def _values(column: "pd.Series[Any]", what: str, name: str) -> Values:
    """Return a data frame's column as a `Table` holds it."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    cells = [None if missing else cell for cell, missing in zip(column, column.isna(), strict=True)]
    kinds = {type(cell) for cell in cells if cell is not None}
    odd = [kind for kind in kinds - {str} if issubclass(kind, ODD)]
    if odd:
        raise Refused(
            f"{what} holds {odd[0].__name__}, and a table's cells are numbers or text. Leave it "
            f"out by dataset.drop=[{name}]."
        )
    if all(issubclass(kind, (int, float, np.number, np.bool_)) for kind in kinds):
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    text = ["" if cell is None else str(cell).strip() for cell in cells]
    return np.array([cell or None for cell in text], object)


def _check_header(names: list[str], rows: int, path: Path, separator: str) -> None:
    if not any(names):
        raise Refused(f"{path} is empty: its first row must name the columns.")
    if len(names) == 1 and (other := next((s for s in ";\t|," if s in names[0]), "")):
        raise Refused(
            f"{path} has a single column {shown(names[0])} when it is cut at {separator!r}. Set "
            f"dataset.separator={other!r}."
        )
    if not all(names):
        raise Refused(f"{path}: column {names.index('') + 1} has no name; give every column one.")
    numbers = [name for name in names if pd.notna(pd.to_numeric(name, errors="coerce"))]
    if numbers:
        raise Refused(
            f"The first row of {path} holds {listed(numbers)}, so that it seems to be data. Put a "
            "row above it that names the columns."
        )
    _check_twice(names, str(path))
    if not rows:
        raise Refused(f"{path} holds no rows below the names of its columns.")


def _check_twice(names: list[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Refused(f"{where} has more than one column {listed(twice)}; rename all but one.")


def _parsed(cells: tuple[str, ...]) -> Values:
    """Return a column's numbers, or its text where it holds anything else."""
    text = pd.Series(cells, dtype=object).str.strip()
    text = text.mask(text.isin(MISSING), None)
    truths = {"true": 1.0, "false": 0.0}
    lower = text.str.lower()
    if lower.dropna().isin(truths.keys()).all():
        return lower.map(truths).to_numpy(np.float64)
    numbers = pd.to_numeric(text, errors="coerce")
    if numbers.notna().sum() < text.notna().sum():
        return text.where(text.notna(), None).to_numpy(object)
    return numbers.to_numpy(np.float64)


def _dated(values: Values) -> bool:
    """Whether all that is there of a column of text is a date, or a time of day."""
    if values.dtype != object:
        return False
    there = [text for text in values if text is not None]
    return any(
        there and all(re.fullmatch(pattern, text, re.IGNORECASE) for text in there)
        for pattern in (DATE, TIME)
    )
