"""FedUP: cut the weights in which the leavers' last models differ most from the others'.

    w_u, w_r:   mean last model of the leavers, and of those who remain
    rank_i   =  (w_u,i - w_r,i)^2 |w_i|
    z        =  (c - 1/2) / (1/2) within [0, 1],  c: mean cosine of each two last layers of the rest
    P        =  (P_max - P_min) z^gamma + P_min
    w       <-  w_r, with 0 in the share P of each layer's weights with the highest rank

Where the others agree training has converged, a difference is the leavers' doing, and more is cut.
The models are those of the leavers' last round, from its stored updates; biases and normalisations
stay. Ordinary rounds are to follow: ``recovery=plain``. The paper takes leavers to be fewer than
half.

Romandini et al. FedUP: efficient pruning-based federated unlearning for model poisoning attacks.
2025, arXiv 2508.13853; P_max 0.15, P_min 0.01, gamma 5. A public port takes the cosine of the last
*tensor*, ten biases, for that of the last layer. Means are weighted by records here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedunlearn.methods import (
    examples,
    last_layer,
    last_rounds,
    likeness,
    mean_update,
    smallest,
    weights_of,
    within,
)
from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Layout,
    Needs,
    Request,
    Vector,
    checks,
)


@dataclass(frozen=True, slots=True)
class FedUP:
    """Cut between ``least`` and ``most`` of each layer's weights."""

    guarantee: ClassVar[Guarantee] = "none"

    most: checks.Share = 0.15
    """Share of each layer's weights that is cut where those who remain are alike (P_max)."""
    least: checks.Share = 0.01
    """The same where they are not, at a cosine of 1/2 and less (P_min)."""
    gamma: checks.Positive = 5.0
    """How late between the two more is cut: the power of the likeness."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
        if self.least > self.most:
            raise checks.field_refused(self, "least", f" must be at most most={self.most}.")

    @property
    def needs(self) -> Needs:
        """The updates of the last round of each leaver, whichever that will be."""
        return Needs(updates=True)

    def length(self, request: Request) -> int:
        """One step: the server does it alone."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the mean of those who remain, cut; the old model where no leaver took part."""
        d, kept, rounds = history.layout.size, history.final, last_rounds(history, request.clients)
        if not rounds:
            yield kept
            return
        apart, records = torch.zeros_like(kept), 0
        for stored, leavers in rounds:
            own, rest = stored.only(leavers), stored.without(request.clients)
            count, step = int(examples(own).sum()), mean_update(rest, d)
            kept = kept - mean_update(stored, d) + step
            apart += count * (mean_update(own, d) - step)
            records += count
        rank = (apart / records).square() * history.final.abs()
        latest, after = rounds[0][0], history.final
        rest, end = latest.without(request.clients), last_layer(history.layout)
        alike = likeness(rest, after - mean_update(latest, d) + mean_update(rest, d), end)
        yield torch.where(_largest(rank, history.layout, self.share(alike)), 0.0, kept)

    def share(self, alike: float) -> float:
        """Return the share of each layer that is cut where the others are ``alike`` (a cosine)."""
        z = min(1.0, max(0.0, (alike - 0.5) / 0.5))
        return (self.most - self.least) * float(z**self.gamma) + self.least


def _largest(scores: Vector, layout: Layout, share: float) -> Tensor:
    """Return where the ``share`` of each layer's weights with the largest ``scores`` lie, [d]."""
    found = torch.zeros(layout.size, dtype=torch.bool)
    for part in weights_of(layout, "all"):
        found |= smallest(-scores, within(layout, (part,)), share)
    return found
