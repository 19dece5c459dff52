"""The columns of a table, one of labels and one of owners among them, become a data set."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import pandas as pd
import torch

from fedunlearn import checks
from fedunlearn.checks import Refused, nearest
from fedunlearn.data.dataset import Dataset, Owners, Records
from fedunlearn.data.listed import listed
from fedunlearn.data.parts import Indices
from fedunlearn.data.stored import split_rows
from fedunlearn.data.table_encoding import Encoding, as_text, in_order, require_complete
from fedunlearn.data.table_files import Table, Values


class Fields(Protocol):
    """The fields that sources of tables have in common, beside the label's."""

    @property
    def owner(self) -> str | None:
        """Column that says whose record it is."""

    @property
    def drop(self) -> tuple[str, ...]:
        """Columns to leave out."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Columns of numbers that are codes of categories."""

    @property
    def missing(self) -> Literal["fill", "refuse"]:
        """What is done about cells without a value."""

    @property
    def most_levels(self) -> int:
        """The most categories of a column, and the most classes."""

    @property
    def test_share(self) -> float:
        """Share of the rows to test on."""


@dataclass(frozen=True)
class Roles:
    """What each column of a table is for, as the fields of a source of tables say."""

    label: str
    owner: str | None
    drop: tuple[str, ...]
    categories: tuple[str, ...]
    missing: Literal["fill", "refuse"]
    most_levels: int
    test_share: float

    @classmethod
    def of(cls, source: "Fields", label: str) -> "Roles":
        """Take them from a source's fields, of which ``label`` is known to be set."""
        return cls(
            label,
            source.owner or None,
            source.drop,
            source.categories,
            source.missing,
            source.most_levels,
            source.test_share,
        )

    def dataset(self, table: Table, test: Table | None = None) -> Dataset:
        """Return what a table's rows are to a net; without ``test`` a share of them is tested on.

        Raises `Refused` for columns that are not there or cannot serve.
        """
        seen = self._kept(table, self.owner)
        if test is not None:
            test = self._kept(test, None)
            known = _only(seen, {*seen.columns} - {self.owner or ""})
            _check_alike(known, test)
            names = _classes(seen, self.label, self.most_levels)
            labels, tested = (_numbered(t, self.label, names) for t in (seen, test))
            train, everything = seen, _joined(known, test)
        else:
            names = _classes(seen, self.label, self.most_levels)
            every = _numbered(seen, self.label, names)
            rows = split_rows(every, self.test_share, names, seen.where)
            train, test = (_taken(seen, chosen) for chosen in rows)
            (labels, tested), everything = (every[chosen] for chosen in rows), seen
        shown = {*train.columns} - {self.label, self.owner}
        if not shown:
            raise Refused(f"{seen.where} has no column beside label and owner to learn from.")
        inputs = [_only(side, shown) for side in (train, test, everything)]
        if self.missing == "refuse":
            require_complete(inputs[2])
        encoding = Encoding.of(inputs[0], inputs[2], self.categories, self.most_levels)
        sides = [
            Records(encoding(side), torch.from_numpy(numbers))
            for side, numbers in zip(inputs[:2], (labels, tested), strict=True)
        ]
        return Dataset(sides[0], sides[1], names, encoding.levels, self._owners(train))

    def _kept(self, table: Table, owner: str | None) -> Table:
        """Look whether a table has the columns that are named, and leave out those to drop."""
        named = {"label": [self.label], "owner": [owner] if owner else []}
        named |= {"drop": [*self.drop], "categories": [*self.categories]}
        for key, columns in named.items():
            for column in columns:
                if column not in table.columns:
                    raise Refused(
                        f"{table.where} has no column {checks.short(column)}; set dataset.{key}"
                        f"{nearest(column, table.columns)}"
                    )
        if {self.label, owner} & {*self.drop}:
            raise Refused("dataset.drop names the column of labels or of owners; leave it there.")
        if owner == self.label:
            raise Refused(f"dataset.owner and dataset.label both name {owner}; they must differ.")
        return _only(table, {*table.columns} - {*self.drop})

    def _owners(self, train: Table) -> Owners | None:
        """Return whose the training records are."""
        if self.owner is None:
            return None
        values = train.columns[self.owner]
        _require_all(values, self.owner, train.where, "owner")
        text = as_text(values)
        names = in_order([name for name in text if name is not None])
        codes = pd.Index(names).get_indexer(pd.Index(text))
        return Owners(torch.from_numpy(codes.astype(np.int64)), names)


def _classes(table: Table, label: str, most: int) -> tuple[str, ...]:
    """Return the names of the classes; raise `Refused` where the column holds something else."""
    values, where = table.columns[label], f"The column {label} of {table.where}"
    _require_all(values, label, table.where, "label")
    if values.dtype != object and (values != np.floor(values)).any():
        raise Refused(
            f"{where} holds numbers such as {values[values != np.floor(values)][0]:g}: amounts are "
            "not predicted (regression), only classes. Cut them into classes, below and above the "
            "median say, or name another label."
        )
    names = in_order([name for name in as_text(values) if name is not None])
    if len(names) < 2:
        raise Refused(f"{where} holds {names[0]!r} alone; there is nothing to tell apart.")
    if len(names) > most:
        raise Refused(
            f"{where} holds {len(names)} different values: is it an amount, or a name? Cut amounts "
            f"into classes, name another label, or raise dataset.most_levels={most}."
        )
    return names


def _numbered(table: Table, label: str, names: tuple[str, ...]) -> Indices:
    """Return the labels' numbers among ``names``."""
    _require_all(table.columns[label], label, table.where, "label")
    text = as_text(table.columns[label])
    codes = pd.Index(names).get_indexer(pd.Index(text)).astype(np.int64)
    if (codes < 0).any():
        new = sorted({str(text[row]) for row in np.flatnonzero(codes < 0).tolist()})
        raise Refused(f"{table.where} has labels {listed(new)}, which no training record has.")
    return codes


def _require_all(values: Values, column: str, where: str, what: str) -> None:
    rows = np.flatnonzero(pd.isna(values))
    if len(rows):
        raise Refused(
            f"{where} has {len(rows)} rows without a value in the column {column}: "
            f"{listed(str(row + 2) for row in rows)}. Every record needs its {what}: leave them "
            "out or fill them in."
        )


def _check_alike(train: Table, test: Table) -> None:
    lacking = [name for name in train.columns if name not in test.columns]
    if lacking:
        raise Refused(f"{test.where} has no column {listed(lacking)}, which {train.where} has.")
    for name, values in train.columns.items():
        if (values.dtype == object) != (test.columns[name].dtype == object):
            raise Refused(
                f"The column {name} is numbers in one of {train.where} and {test.where} and text in"
                " the other; make them alike."
            )


def _joined(train: Table, test: Table) -> Table:
    columns = {
        name: np.concatenate([values, test.columns[name]]) for name, values in train.columns.items()
    }
    return Table(columns, train.dates | test.dates, train.where)


def _only(table: Table, names: set[str]) -> Table:
    return replace(
        table, columns={name: held for name, held in table.columns.items() if name in names}
    )


def _taken(table: Table, rows: Indices) -> Table:
    return replace(table, columns={name: held[rows] for name, held in table.columns.items()})
