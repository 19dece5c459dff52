"""Labels that are wrong for a reason: out of date at a client, or flipped for one group of records.

They are planted like probes, but what shows that they are gone is how well everybody is served.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fedunlearn import checks
from fedunlearn.checks import Count, CountFromZero, Refused, ShareAboveZero
from fedunlearn.data.dataset import Dataset, Records

GROUP = "group"
"""The name of the test set of a group whose labels were flipped."""


@dataclass(frozen=True, slots=True)
class RotatedLabels:
    """A leaver's labels are out of date: each is that of a class further on. Fits all kinds.

    Class c of those that the client holds, in their order, is called class ``c + by`` of them, the
    last ones the first. No test set of its own: the test records are labelled as is right today.
    """

    share: ShareAboveZero = 1.0
    """Share of a leaver's records that are labelled so."""
    by: Count = 1
    """By how many classes."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Return the records with ``round(share * n)`` labels moved on; refuse where none moves."""
        classes = torch.from_numpy(np.unique(records.labels.numpy()))
        chosen = torch.from_numpy(rng.permutation(len(records))[: round(self.share * len(records))])
        if not len(chosen) or self.by % len(classes) == 0:
            raise Refused(
                f"A client to be planted has {len(records)} records of {len(classes)} classes, so "
                f"that planting.share={self.share:g} and planting.by={self.by} change no label. "
                "Raise the share, change by, or let another client leave."
            )
        places = torch.searchsorted(classes, records.labels[chosen])
        labels = records.labels.clone()
        labels[chosen] = classes[(places + self.by) % len(classes)]
        return Records(records.inputs, labels)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return no sets."""
        return {}


@dataclass(frozen=True, slots=True)
class FlippedGroup:
    """A leaver calls the records of one class by another one's name. Fits records of any kind.

    Whoever belongs to that class is then served worse by the model of all: `GroupDeficit`.
    """

    group: CountFromZero = 3
    """The class that is wronged."""
    target: CountFromZero = 8
    """What its records are called."""
    share: ShareAboveZero = 1.0
    """Share of a leaver's records of the group that are called so."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for a group called as it is."""
        checks.fields(self)
        if self.group == self.target:
            raise checks.field_refused(
                self, "target", f" must be another class than planting.group={self.group}."
            )

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Return the records with ``round(share * m)`` of the m of the group relabelled."""
        members = torch.nonzero(records.labels == self.group).flatten().numpy()
        chosen = torch.from_numpy(rng.permutation(members)[: round(self.share * len(members))])
        if not len(chosen):
            raise Refused(
                f"A client to be planted has {len(members)} records of the class planting.group="
                f"{self.group}; planting.share={self.share:g} of them is none. Choose another "
                "group or share, or let another client leave."
            )
        labels = records.labels.clone()
        labels[chosen] = self.target
        return Records(records.inputs, labels)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return the test records of the group as ``group``; raise `Refused` for none of them."""
        if not orders:
            return {}
        for name, label in (("group", self.group), ("target", self.target)):
            if label >= len(dataset.classes):
                raise Refused(
                    f"planting.{name}={label} is no class of the data set; it has 0 … "
                    f"{len(dataset.classes) - 1}."
                )
        group = dataset.test.take(dataset.test.labels == self.group)
        if not len(group):
            raise Refused(
                f"No test record is of the class planting.group={self.group}; choose another."
            )
        return {GROUP: group}
