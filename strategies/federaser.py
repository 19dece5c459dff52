"""FedEraser: replay the stored lengths of updates along freshly measured directions.

    w <- w + sum_k n_k u_k / sum_k n_k,    u_k = |D_k| D'_k / |D'_k|

over the kept rounds, oldest first. ``D_k`` is client k's stored update and ``D'_k`` that of a
short calibration training from the present w. Round 1 needs no calibration: w_0 predates every
client, so its stored updates are used as they are.

Liu, Ma, Yang, Wang, Liu. FedEraser: Enabling Efficient Client-Level Data Removal from Federated
Learning Models. IWQoS 2021, arXiv 2012.13891. The paper's equation (2) divides by K - 1 twice;
its text asks for the weighted mean, which is what stands here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Layout,
    Needs,
    Request,
    Updates,
    Vector,
    checks,
    fedavg_step,
    rescale,
)


@dataclass(frozen=True, slots=True)
class FedEraser:
    """Calibrate every ``interval``-th round with ``effort`` of the usual local epochs."""

    guarantee: ClassVar[Guarantee] = "none"

    interval: checks.Count = 2
    """Keeps and calibrates one training round in so many."""
    effort: checks.ShareAboveZero = 0.5
    """Share of the usual local epochs that a calibration takes."""
    scope: Literal["client_global", "client_tensor", "averaged_tensor"] = "client_global"
    """What keeps its stored length: a client's update, each tensor of it, or of the mean."""
    max_ratio: checks.Ratio = 10.0
    """A fresh update is stretched at most this much."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """The updates of the first round of each interval."""
        return Needs(updates=True, every=self.interval, remaining=True)

    def length(self, request: Request) -> int:
        """One round for each that was kept."""
        return request.after // self.interval

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after each replayed round."""
        calibrate = SCOPES[self.scope]
        work = clients.work.scaled(self.effort)
        weights = history.initial
        for stored in history.without(request.clients):
            kept = stored.updates
            if stored.number == 1:
                step = fedavg_step(kept)
            else:
                fresh = clients.train(weights, kept.clients, work, round=stored.number)
                kept = kept.only(set(fresh.clients))
                step = calibrate(fresh.deltas, kept, history.layout, self.max_ratio)
            weights = weights + step
            yield weights


def _client_global(fresh: Tensor, kept: Updates, layout: Layout, most: float) -> Vector:
    """Give each client's whole update its stored length: the paper's equation (1)."""
    return fedavg_step(replace(kept, deltas=rescale(fresh, kept.deltas, [layout.parameters], most)))


def _client_tensor(fresh: Tensor, kept: Updates, layout: Layout, most: float) -> Vector:
    """Give each tensor of each client's update its stored length."""
    return fedavg_step(replace(kept, deltas=rescale(fresh, kept.deltas, layout.tensors, most)))


def _averaged_tensor(fresh: Tensor, kept: Updates, layout: Layout, most: float) -> Vector:
    """Average first, then give each tensor the length of the stored average."""
    step = fedavg_step(replace(kept, deltas=fresh))
    return rescale(step, fedavg_step(kept), layout.tensors, most)


SCOPES: dict[str, Callable[[Tensor, Updates, Layout, float], Vector]] = {
    "client_global": _client_global,
    "client_tensor": _client_tensor,
    "averaged_tensor": _averaged_tensor,
}
"""What one length belongs to; the paper's text leaves it open."""
