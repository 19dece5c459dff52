"""Tables of a user's own: CSV and Parquet files with a column of labels, and one of owners."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.data.dataset import Dataset
from fedunlearn.data.stored import SplitShare
from fedunlearn.data.table_files import Table, read_arrow, read_csv
from fedunlearn.data.table_roles import Roles

PARQUET = (".parquet", ".pq", ".arrow")
"""How the names of files end that are no CSV."""


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file: one record a row, of which one column is the label.

    Numbers are standardised by mean and deviation of the training records. Text is a category, and
    so are numbers in ``categories``: 0 stands for a value that no training record has. A missing
    number becomes the mean, with a further column that says so.
    """

    path: str | None = None
    """The file, whose first row names the columns; must be set."""
    label: str | None = None
    """Column of the classes; must be set."""
    owner: str | None = None
    """Column that says whose record it is, for partition=natural; None: nobody's."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    categories: tuple[str, ...] = ()
    """Columns of numbers that are codes of categories."""
    missing: Literal["fill", "refuse"] = "fill"
    """What is done about cells without a value, outside label and owner."""
    most_levels: Count = 100
    """The most categories of a column, and the most classes."""
    test_path: str | None = None
    """A file of the same columns with the test records; None: a share of the rows is."""
    test_share: SplitShare = 0.2
    """Share of the rows to test on, each class in proportion, the same ones in every run."""
    separator: str = ","
    """What stands between the cells."""
    encoding: str = "utf-8-sig"
    """How the file's letters are written."""

    def __post_init__(self) -> None:
        """Turn lists from a config into tuples; raise `Refused` for values out of range."""
        checks.fields(self)
        for name in ("drop", "categories"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def load(self) -> Dataset:
        """Read the data set; raise `Refused` for a file or a column that cannot serve."""
        return _loaded(self, self._read)

    def _read(self, path: str) -> Table:
        file = Path(path).expanduser()
        if file.is_dir() or file.suffix in PARQUET:
            raise Refused(
                f"dataset.path={path} is no CSV file. Parquet files, and folders that "
                "datasets.save_to_disk wrote, are read by dataset=table_parquet."
            )
        if not file.is_file():
            raise Refused(f"dataset.path={path} is no file; name a CSV file.")
        return read_csv(file, self.separator, self.encoding)


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """A Parquet file: one record a row, of which one column is the label.

    Its columns become inputs as those of a CSV file do.
    """

    path: str | None = None
    """The file, or a folder that is one side of what `datasets.save_to_disk` wrote; must be set."""
    label: str | None = None
    """Column of the classes; must be set."""
    owner: str | None = None
    """Column that says whose record it is, for partition=natural; None: nobody's."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    categories: tuple[str, ...] = ()
    """Columns of numbers that are codes of categories."""
    missing: Literal["fill", "refuse"] = "fill"
    """What is done about cells without a value, outside label and owner."""
    most_levels: Count = 100
    """The most categories of a column, and the most classes."""
    test_path: str | None = None
    """A file or folder of the same columns with the test records; None: a share of the rows is."""
    test_share: SplitShare = 0.2
    """Share of the rows to test on, each class in proportion, the same ones in every run."""

    def __post_init__(self) -> None:
        """Turn lists from a config into tuples; raise `Refused` for values out of range."""
        checks.fields(self)
        for name in ("drop", "categories"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def load(self) -> Dataset:
        """Read the data set; raise `Refused` for a file or a column that cannot serve."""
        return _loaded(self, _read_parquet)


def _read_parquet(path: str) -> Table:
    file = Path(path).expanduser()
    saved = sorted(file.glob("*.arrow")) if file.is_dir() else []
    if not file.is_file() and not saved:
        raise Refused(
            f"dataset.path={path} is no file; name a Parquet file, or a folder of Arrow files, one "
            "side of what datasets.save_to_disk wrote."
        )
    if file.suffix in (".csv", ".tsv", ".txt"):
        raise Refused(f"dataset.path={path} is no Parquet file; CSV files are read by dataset=csv.")
    return read_arrow(saved or [file], file)


def _loaded(source: CsvTable | ParquetTable, read: Callable[[str], Table]) -> Dataset:
    if not source.path or not source.label:
        unset = "label" if source.path else "path"
        what = "column of the classes" if source.path else "file"
        raise Refused(f"dataset.{unset} is not set: name the {what}.")
    roles = Roles.of(source, source.label)
    test = read(source.test_path) if source.test_path else None
    return roles.dataset(read(source.path), test)
