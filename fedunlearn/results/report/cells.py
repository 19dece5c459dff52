"""Tables before they are written: what stands in a cell, free of any format."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from fedunlearn.results import MINUS_SIGN
from fedunlearn.results import NO_NUMBER as NO_NUMBER

SYMBOLS = {
    "inside": "✓",
    "under-forgotten": "▲",
    "over-forgotten": "▼",
    "outside": "◆",
    "undecided": "?",
}
"""A sign for each verdict, so that nobody needs to see its colour."""

MEANINGS = {
    "inside": "inside the band of retrained models",
    "under-forgotten": "outside it, and the leaver is still remembered",
    "over-forgotten": "outside it, on the other side: damaged where the leaver's records lie",
    "outside": "outside it, where neither side means forgetting",
    "undecided": "the seeds and references are too few, or too far apart, to tell",
}
"""What each verdict means."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; ``spread`` is a standard deviation, written after ±."""

    text: str
    spread: str = ""
    best: bool = False
    verdict: str = ""
    """One of `SYMBOLS`, or nothing."""
    href: str = ""

    @property
    def symbol(self) -> str:
        """The verdict's sign."""
        return SYMBOLS.get(self.verdict, "")

    @property
    def plain(self) -> str:
        """Value and spread."""
        return f"{self.text} ± {self.spread}" if self.spread else self.text


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption, and notes below it; the first column names the rows."""

    name: str
    """Of its file."""
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    numeric: bool = True
    """Whether all but the first column hold numbers."""


def number(value: float, digits: int) -> str:
    """Write a number with a real minus sign and no negative zero; a dash for none."""
    if not math.isfinite(value):
        return NO_NUMBER
    return f"{value:z,.{digits}f}".replace("-", MINUS_SIGN)


def measure(values: pd.Series, digits: int, factor: float = 1) -> Cell:
    """Return mean and sample standard deviation of one value a seed.

    A mean over seeds of which one has no number is none: a model that diverged is not left out.
    """
    mean = float((factor * values).mean(skipna=False)) if len(values) else math.nan
    spread = float((factor * values).std())
    several = len(values) > 1 and math.isfinite(mean)
    return Cell(number(mean, digits), number(spread, digits) if several else "")


def text(*cells: object) -> tuple[Cell, ...]:
    """Return a row of plain cells."""
    return tuple(Cell(str(cell)) for cell in cells)


def with_best(cells: Sequence[Cell], badness: Sequence[float]) -> list[Cell]:
    """Mark the cells of least badness; equal ones together, nan never, and none if alone."""
    finite = [value for value in badness if math.isfinite(value)]
    if len(finite) < 2:
        return list(cells)
    least = min(finite)
    close = [math.isclose(value, least, rel_tol=1e-9, abs_tol=1e-12) for value in badness]
    return [replace(cell, best=mark) for cell, mark in zip(cells, close, strict=True)]
