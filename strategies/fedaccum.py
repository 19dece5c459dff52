"""FedAccum: replay the stored updates of those who remain, without asking anybody.

    w = w_0 + s sum_t sum_k n_k D_k^t / sum_k n_k

over the kept rounds t and the clients k who remain. It costs nothing, and shows why FedEraser
calibrates: the updates were measured along a path that the model no longer takes.

Liu, Ma, Yang, Wang, Liu. FedEraser: Enabling Efficient Client-Level Data Removal from Federated
Learning Models. IWQoS 2021, arXiv 2012.13891.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Needs,
    Request,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class FedAccum:
    """Add up the stored updates, each ``scale`` times; the paper's scale is 1."""

    guarantee: ClassVar[Guarantee] = "none"

    interval: checks.Count = 1
    """Adds up one training round in so many."""
    scale: checks.Positive = 1.0
    """Factor on each stored update."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """The updates of the first round of each interval."""
        return Needs(updates=True, every=self.interval)

    def length(self, request: Request) -> int:
        """One step: the server does it alone."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model that the stored updates add up to."""
        weights = history.initial
        for stored in history.without(request.clients):
            weights = weights + self.scale * fedavg_step(stored.updates)
        yield weights
