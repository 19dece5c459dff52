"""All that determines who holds which records, in a few values."""

from dataclasses import dataclass

import numpy as np

from fedunlearn import checks, randomness
from fedunlearn.checks import Refused
from fedunlearn.data.changes import Change
from fedunlearn.data.dataset import DatasetSource
from fedunlearn.data.natural import ByOwner
from fedunlearn.data.partitions import Partition
from fedunlearn.data.parts import HELDOUT, PROXY, ClientId
from fedunlearn.data.planting import Planting
from fedunlearn.models import Build
from fedunlearn.randomness import Stream


@dataclass(frozen=True)
class Scenario:
    """All that determines who holds which records: hashable, small enough to send anywhere."""

    dataset: DatasetSource
    partition: Partition | ByOwner
    """A `Natural` one is `ByOwner` here: `Natural.of` the data set."""
    planting: Planting
    model: Build
    leavers: tuple[ClientId, ...]
    """In the order in which they ask: the i-th is planted with the i-th pattern."""
    seed: int
    heldout: float = 0.2
    """Share of each client's records that it does not train on."""
    proxy: float = 0.1
    """Share of the training records that the server owns, unlabelled; no client has them."""
    split: int | None = None
    """The seed of who holds what, and of what is planted there; None takes ``seed``."""
    changes: tuple[Change, ...] = ()
    """Who brings records and who has them erased, the earliest first."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.whole("seed", self.seed, at_least=0)
        if self.split is not None:
            checks.whole("split", self.split, at_least=0)
        checks.require("heldout", HELDOUT, self.heldout)
        checks.require("proxy", PROXY, self.proxy)
        for client in self.leavers:
            if not 0 <= client < self.partition.clients:
                raise Refused(
                    f"withdrawal.clients names client {client}, but the federation has clients "
                    f"0 to {self.partition.clients - 1} (partition.clients="
                    f"{self.partition.clients})."
                )


def rng_of(scenario: Scenario, stream: Stream, *more: int) -> np.random.Generator:
    """Return a generator of how ``scenario`` divides the data."""
    divided_by = scenario.seed if scenario.split is None else scenario.split
    return randomness.rng(divided_by, stream, *more)
