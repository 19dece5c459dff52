"""Which settings the runs of a multirun vary."""

from collections.abc import Iterable, Sequence

import pandas as pd

AVERAGED_OVERRIDES = ("seed", "seeds")
"""Overrides over which one averages: they are no settings."""

WIDE_RANGE = 8
"""Values so many times apart are drawn on a logarithmic axis."""


def settings_of(words: Iterable[str]) -> dict[str, str]:
    """Return the values of overrides, as ``name=value`` on the command line, by their names."""
    pairs = [word.lstrip("+~").partition("=") for word in words]
    return {name: value for name, _, value in pairs}


def varied(settings: pd.DataFrame) -> list[str]:
    """Return the columns, a setting each, that differ between the rows, each a run.

    The one with the most different values comes first.
    """
    differ = [
        name
        for name in map(str, settings)
        if name not in AVERAGED_OVERRIDES and settings[name].nunique(dropna=False) > 1
    ]
    return sorted(differ, key=lambda name: -settings[name].nunique())


def numeric(values: pd.Series) -> pd.Series | None:
    """Return a setting's values as numbers, or None where one of them is none."""
    numbers = pd.to_numeric(values, errors="coerce")
    return None if numbers.isna().any() else numbers


def wide_range(values: Sequence[float]) -> bool:
    """Whether the values above 0 are so far apart that their axis is logarithmic."""
    positive = [value for value in values if value > 0]
    return len(positive) > 1 and max(positive) / min(positive) >= WIDE_RANGE
