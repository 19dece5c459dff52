"""Which of a client's training records a request is about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from fedunlearn import checks, files
from fedunlearn.checks import CountFromZero, Refused, Share

if TYPE_CHECKING:  # a timeline is refused before torch is loaded
    from fedunlearn.data.dataset import Records

Mask = npt.NDArray[np.bool_]
"""Marks records, [n]."""


class Scope(Protocol):
    """Chooses among one client's records: a frozen, hashable dataclass.

    A client of whose records nothing is left leaves; every other one stays with the rest.
    """

    probed: ClassVar[bool]
    """Whether a probe is planted with those who ask so: what goes with it shows whether they were
    forgotten."""

    @property
    def words(self) -> str:
        """The scope as tables and certificates give it, such as ``share=0.2``."""

    def chosen(self, records: Records, planted: Mask, rng: np.random.Generator) -> Mask:
        """Mark the records that are to be forgotten, [n] bool.

        ``records`` are what the client trains on, ``planted`` [n] marks those that hold a probe.
        ``rng`` is a function of the division of the data, the client and the request.
        """

    def like(self, heldout: Records) -> Mask:
        """Mark which of a client's held-out records are like the chosen ones, [n] bool."""


@dataclass(frozen=True, slots=True)
class Everything:
    """All records: the client leaves."""

    probed: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """See `Scope.words`."""
        return "everything"

    def chosen(self, records: Records, planted: Mask, rng: np.random.Generator) -> Mask:
        """Mark all."""
        return np.ones(len(records), np.bool_)

    def like(self, heldout: Records) -> Mask:
        """Mark all."""
        return np.ones(len(heldout), np.bool_)


@dataclass(frozen=True, slots=True)
class RandomShare:
    """A random ``share`` of a client's records: ``round(share * n)`` of n."""

    probed: ClassVar[bool] = True

    share: Share = 0.2
    """Of each client's records; 1 is everything, 0 nothing."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def words(self) -> str:
        """See `Scope.words`."""
        return f"share={self.share:g}"

    def chosen(self, records: Records, planted: Mask, rng: np.random.Generator) -> Mask:
        """Mark the share; a larger one of the same client includes a smaller one."""
        marked = np.zeros(len(records), np.bool_)
        order = rng.permutation(len(records))
        marked[order[: round(self.share * len(records))]] = True
        return marked

    def like(self, heldout: Records) -> Mask:
        """Mark all: they come from where the chosen ones do."""
        return np.ones(len(heldout), np.bool_)


@dataclass(frozen=True, slots=True)
class WithLabels:
    """All records of some classes: asked for by all clients, a class is unlearned.

    No probe is planted: it would carry a label of its own.
    """

    probed: ClassVar[bool] = False

    labels: tuple[CountFromZero, ...]
    """The classes, counted from 0."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for a class that is named twice."""
        checks.fields(self)
        object.__setattr__(self, "labels", tuple(self.labels))
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise Refused(
                "scope.labels must list one or more classes, each once, not "
                f"{checks.shown(list(self.labels))}."
            )

    @property
    def words(self) -> str:
        """See `Scope.words`."""
        return f"labels={'+'.join(map(str, self.labels))}"

    def chosen(self, records: Records, planted: Mask, rng: np.random.Generator) -> Mask:
        """Mark the records of the classes."""
        return self.like(records)

    def like(self, heldout: Records) -> Mask:
        """Mark the records of the classes."""
        return np.isin(heldout.labels.numpy(), self.labels)


@dataclass(frozen=True, slots=True)
class PlantedRecords:
    """The records that hold the client's probe: the planted behaviour goes, the client stays."""

    probed: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """See `Scope.words`."""
        return "planted"

    def chosen(self, records: Records, planted: Mask, rng: np.random.Generator) -> Mask:
        """Mark the records with a probe."""
        return planted.copy()

    def like(self, heldout: Records) -> Mask:
        """Mark all: nobody plants among them."""
        return np.ones(len(heldout), np.bool_)


@dataclass(frozen=True, slots=True)
class Hardest:
    """The share of a client's records that come first by a score in a table: the hardest, say.

    The table is a CSV as `fedunlearn difficulty` writes: a row a record, known by its
    `fingerprints` and so whoever holds it, under whatever seed. Of records that score alike the one
    that the client holds earlier goes first.
    """

    probed: ClassVar[bool] = True

    table: str
    """A CSV with a column ``fingerprint`` and one of scores: difficulty_records.csv."""
    by: str = "memorization"
    """The column of scores; a record that has none there comes last."""
    share: Share = 0.2
    """Of each client's records: ``round(share * n)`` of n."""
    first: Literal["highest", "lowest"] = "highest"
    """Whether the highest or the lowest scores go."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for a table without such scores."""
        checks.fields(self)
        _scores(Path(self.table).expanduser().absolute(), self.by)

    @property
    def words(self) -> str:
        """See `Scope.words`."""
        return f"{self.first} {self.by}={self.share:g}"

    def chosen(self, records: Records, planted: Mask, rng: np.random.Generator) -> Mask:
        """Mark the share; a larger one of the same records includes a smaller one.

        Raises `Refused` for a record that the table does not know.
        """
        table = Path(self.table).expanduser().absolute()
        scores = _scores(table, self.by)
        names = fingerprints(records)
        unknown = sum(name not in scores for name in names)
        if unknown:
            raise Refused(
                f"scope.table: {table} does not know {unknown} of {len(names)} records of a client "
                "who asks: it is of other data, or something else was planted there. Write it anew "
                "with fedunlearn difficulty and the same overrides."
            )
        sign = -1 if self.first == "highest" else 1
        keys = np.nan_to_num(sign * np.array([scores[name] for name in names]), nan=np.inf)
        marked = np.zeros(len(records), np.bool_)
        marked[np.argsort(keys, kind="stable")[: round(self.share * len(records))]] = True
        return marked

    def like(self, heldout: Records) -> Mask:
        """Mark all: no table scores what nobody trains on."""
        return np.ones(len(heldout), np.bool_)


def fingerprints(records: Records) -> list[str]:
    """Return 16 hexadecimal digits a record: of the SHA-256 of its input's bytes and its label."""
    inputs, labels = records.inputs.contiguous().numpy(), records.labels.numpy()
    return [
        hashlib.sha256(one.tobytes() + label.tobytes()).hexdigest()[:16]
        for one, label in zip(inputs, labels, strict=True)
    ]


@cache
def _scores(table: Path, by: str) -> Mapping[str, float]:
    """Return the score of each fingerprint in a table; equal records have the mean of theirs."""
    import pandas as pd  # no other scope waits for it

    try:
        rows = pd.read_csv(table, dtype={"fingerprint": str})
    except (OSError, ValueError) as error:
        raise Refused(
            f"scope.table: {table} cannot be read as a table: {files.reason(error)}."
        ) from None
    for column in ("fingerprint", by):
        if column not in rows:
            raise Refused(
                f"scope.table: {table} has no column {checks.short(column)}"
                f"{checks.nearest(column, map(str, rows.columns))}"
            )
    if not pd.api.types.is_numeric_dtype(rows[by]):
        raise Refused(f"scope.by: the column {by} of {table} holds no numbers.")
    means = rows.groupby("fingerprint")[by].mean()
    return dict(zip(means.index.astype(str), means.astype(float), strict=True))
