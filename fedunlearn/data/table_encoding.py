"""Columns of a table become inputs of a net: numbers standardised, categories counted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data.listed import listed
from fedunlearn.data.table_files import Table, Values

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Numeric:
    """A column of numbers: ``(x - mean) / deviation``, and a mark where there was none."""

    mean: float
    deviation: float
    """1 for a column that is constant."""
    marked: bool
    """Whether a second column says where a value was missing, by a 1; the first is 0 there."""

    levels = 0

    @classmethod
    def of(cls, values: Values, seen: Values) -> "Numeric":
        """Learn from the training records' ``values``; ``seen`` are those of all records."""
        mean, deviation = float(np.nanmean(values)), float(np.nanstd(values))
        return cls(mean, deviation or 1.0, bool(np.isnan(seen).any()))

    def __call__(self, values: Values) -> list[Floats]:
        """Return the columns of inputs."""
        missing = np.isnan(values)
        scaled = np.where(missing, 0, (values - self.mean) / self.deviation)
        columns = [scaled.astype(np.float32)]
        return [*columns, missing.astype(np.float32)] if self.marked else columns


@dataclass(frozen=True)
class Category:
    """A column of categories: the number of each, from 1; 0 is for what is missing or new."""

    names: tuple[str, ...]
    """Those of the training records, in the order of their names."""

    @property
    def levels(self) -> int:
        """How many values there are."""
        return len(self.names) + 1

    @classmethod
    def of(cls, values: Values) -> "Category":
        """Learn from the training records' ``values``."""
        return cls(tuple(sorted({name for name in as_text(values) if name is not None})))

    def __call__(self, values: Values) -> list[Floats]:
        """Return the column of inputs."""
        codes = pd.Index(self.names).get_indexer(pd.Index(as_text(values)))
        return [(codes.astype(np.int64) + 1).astype(np.float32)]


@dataclass(frozen=True)
class Encoding:
    """What was learnt of every column of the training records."""

    columns: Mapping[str, Numeric | Category]

    @classmethod
    def of(cls, train: Table, seen: Table, categories: Collection[str], most: int) -> "Encoding":
        """Learn how to encode a table's columns; ``categories`` are numbers that name things.

        Raises `Refused` for columns that are dates, empty, infinite, or text of more than ``most``
        kinds.
        """
        learnt: dict[str, Numeric | Category] = {}
        for name, values in train.columns.items():
            _check_column(name, values, seen)
            if values.dtype != object and name not in categories:
                learnt[name] = Numeric.of(values, seen.columns[name])
                continue
            learnt[name] = category = Category.of(values)
            if len(category.names) > most:
                raise Refused(
                    f"The column {name} of {seen.where} holds {len(category.names)} different "
                    f"texts, such as {listed(map(repr, category.names[:2]))}: free text and names "
                    f"of people are no categories. Leave it out by dataset.drop=[{name}], or raise "
                    f"dataset.most_levels={most}."
                )
        return cls(learnt)

    def __call__(self, table: Table) -> Tensor:
        """Return the inputs of a table's rows, [n, columns] float32."""
        parts = [part for name, one in self.columns.items() for part in one(table.columns[name])]
        return torch.from_numpy(np.stack(parts, axis=1))

    @property
    def levels(self) -> tuple[int, ...]:
        """As `Shape.levels`; empty where all columns are numbers."""
        levels: list[int] = []
        for one in self.columns.values():
            levels += [one.levels] * (1 + (isinstance(one, Numeric) and one.marked))
        return tuple(levels) if any(levels) else ()


def _check_column(name: str, values: Values, seen: Table) -> None:
    leave = f"leave it out by dataset.drop=[{name}]"
    if name in seen.dates:
        raise Refused(
            f"The column {name} of {seen.where} holds dates or times. Turn it into numbers that "
            f"mean something, such as an age in days, a month or an hour, or {leave}."
        )
    if pd.isna(values).all():
        raise Refused(
            f"The column {name} of {seen.where} is empty in all training records; {leave}."
        )
    if values.dtype != object and np.isinf(seen.columns[name]).any():
        raise Refused(f"The column {name} of {seen.where} holds infinite numbers; empty them.")


def require_complete(table: Table) -> None:
    """Raise `Refused` where cells are missing, by column."""
    missing = {name: int(pd.isna(values).sum()) for name, values in table.columns.items()}
    found = [f"{name} ({count})" for name, count in missing.items() if count]
    if found:
        raise Refused(
            f"{table.where} lacks values in {listed(found)} rows, and dataset.missing=refuse. Fill "
            "them in, leave columns out by dataset.drop, or set dataset.missing=fill."
        )


def as_text(values: Values) -> Sequence[str | None]:
    """Return a column's values as their names: whole numbers without a decimal point."""
    if values.dtype == object:
        return list(values)
    named = {number: f"{number:g}" if abs(number) < 1e6 else f"{number:.0f}"
             for number in np.unique(values[~np.isnan(values)])}  # fmt: skip
    return [named.get(number) for number in values]


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return different names in order: by size where all are numbers, else by letter."""
    try:
        return tuple(sorted(set(names), key=float))
    except ValueError:
        return tuple(sorted(set(names)))
