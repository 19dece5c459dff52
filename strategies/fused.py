"""FUSED: freeze the model, and let those who remain train a sparse adapter on its critical layers.

    l's distance = mean_k |Delta_k,l| / sqrt(n_l)    Delta_k: client k's update in an ordinary round
    M <- by lot, a share of the parameters of the layers with the largest distance
    for r = 1 … R:   a <- a + sum_k n_k delta_k / sum_k n_k,  on M alone;   the model is w_T + a

Only the adapter a travels back, and only a changes: take it away, and the model is the old one to
the bit. What those who remain know overwrites what the leavers taught, as far as it contradicts it.

Zhong, Bao, Wang, Zhang, Zhou, Lyu, Lim. Unlearning through knowledge overwriting: reversible
federated unlearning via selective sparse adapter. CVPR 2025, arXiv 2502.20709. Its public code has
low-rank adapters on layers that are written down by name; the distances it computes are those of
the last client of a round alone, and are not used. Here the adapter is a `Mask`, sparse as the
paper's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.methods import critical, drawn_from
from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Mask,
    Needs,
    Request,
    Vector,
    checks,
    fedavg_step,
    redrawn,
)


@dataclass(frozen=True, slots=True)
class Fused:
    """Train ``share`` of the ``layers`` most critical layers for ``rounds`` rounds."""

    guarantee: ClassVar[Guarantee] = "none"

    layers: checks.Count = 2
    """How many layers the adapter lies on: those that clients move most; at most all."""
    share: checks.ShareAboveZero = 0.5
    """Share of these layers' parameters that the adapter has, drawn by lot."""
    fresh: bool = False
    """Whether it takes the place of those parameters with fresh values; else it begins with 0."""
    rounds: checks.Count = 5
    """Rounds in which it is trained."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Those who remain work, on a part of the model."""
        return Needs(remaining=True, masks=True)

    def length(self, request: Request) -> int:
        """Return the number of rounds."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model with its adapter after every round."""
        weights, first, layout = history.final, request.after + 1, history.layout
        rng, updates = clients.rng(first), clients.train(weights, round=first)
        adapter = Mask.of(drawn_from(critical(layout, updates, self.layers), self.share, rng))
        if self.fresh:
            weights = redrawn(layout, weights, adapter.moving, rng)
        for number in range(first, first + self.rounds):
            weights = weights + fedavg_step(clients.train(weights, round=number, mask=adapter))
            yield weights
