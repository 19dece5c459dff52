"""Which of a client's training records a request is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from fedunlearn import checks
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
