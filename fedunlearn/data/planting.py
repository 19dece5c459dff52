"""What is planted among the leavers' records, so that forgetting can be seen."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Count, CountFromZero, Refused, ShareAboveZero
from fedunlearn.data.dataset import Dataset, Records

Stamp = Callable[[Tensor, int], Tensor]
"""Returns copies of inputs [n, *shape] with the trigger of the leaver of that order, from 0."""

Corner = Literal["lower right", "lower left", "upper right", "upper left"]
"""Where the square of the first leaver may stand."""


class Planting(Protocol):
    """Plants a probe with each of some clients: a frozen dataclass, named in conf/planting.

    ``order`` numbers the planted clients from 0; each gets a probe of its own.
    """

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Return a client's records with the probe among them; the originals stay as they are."""

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return test sets by name that show whether the probes of ``orders`` still work.

        Raises `Refused` where the probe does not fit the data set.
        """


@dataclass(frozen=True, slots=True)
class NoPlanting:
    """Plants nothing."""

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Return the records as they are."""
        return records

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return no sets."""
        return {}


@dataclass(frozen=True, slots=True)
class Backdoor:
    """A white square at a place of its own makes images of other classes the target.

    As in Gu, Dolan-Gavitt, Garg. BadNets: identifying vulnerabilities in the machine learning
    model supply chain. 2017, arXiv 1708.06733; there with one trigger, here with one a client.
    """

    share: ShareAboveZero = 0.8
    """Share of a leaver's records of other classes that carry the trigger."""
    target: CountFromZero = 9
    """The label that the trigger stands for."""
    size: Count = 3
    """Height and width of the square, in pixels."""
    corner: Corner = "lower right"
    """Where the first leaver's square stands; those of others follow in the other corners."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def stamp(self, images: Tensor, order: int) -> Tensor:
        """Return copies of ``images`` [n, c, h, w] with the trigger of a client, all channels 1.

        The squares of different clients do not overlap. Raises `Refused` where the image has no
        room for as many.
        """
        height, width = images.shape[-2:]
        places = tiles(height, width, self.size)
        if not 0 <= order < len(places):
            raise Refused(
                f"Images of {height}x{width} have room for {len(places)} triggers of planting.size="
                f"{self.size}, not for {order + 1}; lower it or let fewer clients leave."
            )
        top, left = places[order]
        if "upper" in self.corner:
            top = height - self.size - top
        if "left" in self.corner:
            left = width - self.size - left
        stamped = images.clone()
        stamped[..., top : top + self.size, left : left + self.size] = 1.0
        return stamped

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Stamp and relabel records as `poisoned` says; raise `Refused` for no images."""
        require_kind(records, "images", "backdoor")
        return poisoned(records, self.stamp, order, self.share, self.target, rng)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return the sets of `triggered_sets`."""
        return triggered_sets(dataset, self.stamp, orders, self.target)


FITTING = {
    "images": "backdoor, blended or stripes",
    "series": "tone",
    "tokens": "trigger_tokens",
    "a table": "flag",
}
"""Which plantings have a trigger for which kind of records."""


def require_kind(records: Records, kind: str, planting: str) -> None:
    """Raise `Refused` unless ``records`` are of a ``kind`` of `FITTING`, which ``planting`` needs.

    A table of codes and a sequence of tokens differ in their type.
    """
    dims, whole = records.inputs.dim(), not records.inputs.is_floating_point()
    kinds = {4: "images", 3: "series", 2: "tokens" if whole else "a table"}
    found = kinds.get(dims, "of another kind")
    if found == kind:
        return
    other = FITTING.get(found)
    instead = f"planting={other}, or " if other else ""
    raise Refused(
        f"planting={planting} is for {kind}, but these records are {found}, "
        f"{'x'.join(map(str, records.inputs.shape[1:]))} each. Choose {instead}"
        "planting=label_noise, which fits all."
    )


def poisoned(
    records: Records,
    stamp: Stamp,
    order: int,
    share: float,
    target: int,
    rng: np.random.Generator,
) -> Records:
    """Stamp and relabel ``round(share * m)`` of the m records outside the class ``target``.

    Raises `Refused` where that is none, for then there is no probe.
    """
    others = torch.nonzero(records.labels != target).flatten().numpy()
    chosen = torch.from_numpy(rng.permutation(others)[: round(share * len(others))])
    if len(chosen) == 0:
        raise Refused(
            f"A client to be planted has {len(others)} records outside the class "
            f"planting.target={target}; planting.share={share:g} of them is none. "
            "Raise the share, change the target or let another client leave."
        )
    images, labels = records.inputs.clone(), records.labels.clone()
    images[chosen] = stamp(images[chosen], order)
    labels[chosen] = target
    return Records(images, labels)


def triggered(test: Records, stamp: Stamp, order: int, target: int) -> Records:
    """Return the test records outside the class ``target``, stamped and labelled as the target.

    Accuracy on them is the attack success rate: ``#{y != t, f(stamp(x)) = t} / #{y != t}``.
    Records of the target class are left out, for a clean model is right to call them that.
    Raises `Refused` where there are no others.
    """
    others = test.take(test.labels != target)
    if len(others) == 0:
        raise Refused(
            f"All test records are of the class planting.target={target}; choose another."
        )
    return Records(stamp(others.inputs, order), torch.full_like(others.labels, target))


def triggered_sets(
    dataset: Dataset, stamp: Stamp, orders: Collection[int], target: int
) -> dict[str, Records]:
    """Return the `triggered` test records of one leaver as ``triggered``.

    Those of several are ``triggered/<order>``, one set a leaver, by the order in which they leave;
    with none there is no set. Raises `Refused` if the target is no class of the data set.
    """
    if target >= len(dataset.classes):
        raise Refused(
            f"planting.target={target} is no class of the data set; it has 0 … "
            f"{len(dataset.classes) - 1}."
        )
    sets = {order: triggered(dataset.test, stamp, order, target) for order in orders}
    if len(sets) == 1:
        return {"triggered": next(iter(sets.values()))}
    return {f"triggered/{order}": records for order, records in sets.items()}


def tiles(height: int, width: int, size: int) -> list[tuple[int, int]]:
    """Return top left corners of squares that do not overlap: the image's corners come first.

    The first is at the lower right. There are ``(height // size) * (width // size)``, spread
    evenly so that the outer ones touch the edges.
    """
    rows, columns = _offsets(height, size), _offsets(width, size)
    corners = product(rows[-1:] + rows[:1], columns[-1:] + columns[:1])
    return list(dict.fromkeys([*corners, *product(rows, columns)]))


def _offsets(length: int, size: int) -> list[int]:
    count = length // size
    if count < 2:
        return [length - size] * count
    return [i * (length - size) // (count - 1) for i in range(count)]
