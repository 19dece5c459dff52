"""SSD: dampen the weights that matter to the leavers far more than to those who remain.

    I_u, I_r:  what each weight matters to the leavers, and to those who remain
    where I_u > alpha I_r:   w <- w min(lambda I_r / I_u, 1)

By ``fisher``, what matters is the mean squared gradient of single records, one sum of each client
on the present model; the leavers are asked as well. By ``displacement`` (ConDa), it is how far a
client moved the weight in training, ``|mean_t delta_t|``, from the stored updates: nobody is asked.
Nothing is trained; ordinary rounds (``recovery=plain``) may follow.

Foster, Schoepf, Brintrup. Fast machine unlearning without retraining through selective synaptic
dampening. AAAI 2024, arXiv 2308.07707; alpha 10, lambda 1. Its code squares the gradient of each
batch's mean, which shrinks with the batch; here every record counts. ConDa's public code swaps the
two sides and divides by 0 where a weight never moved: here such a weight stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from fedunlearn.methods import mean_square
from fedunlearn.unlearning import (
    ClientId,
    Clients,
    Guarantee,
    History,
    Needs,
    Request,
    SquaredGradients,
    Vector,
    checks,
)


@dataclass(frozen=True, slots=True)
class Ssd:
    """Dampen what the leavers need ``alpha`` times as much as those who remain."""

    guarantee: ClassVar[Guarantee] = "none"

    alpha: checks.Positive = 10.0
    """How many times as much a weight must matter to the leavers before it is dampened."""
    dampening: checks.Positive = 1.0
    """Lambda: a weight that matters n times as much is multiplied by this, divided by n."""
    importance: Literal["fisher", "displacement"] = "fisher"
    """What tells how much a weight matters: squared gradients, or how far updates moved it."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """A sum of everybody, or the updates of training."""
        asks = self.importance == "fisher"
        return Needs(remaining=asks, leaver=asks, updates=not asks)

    def length(self, request: Request) -> int:
        """One step: the server does it alone."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the dampened model."""
        weights = history.final.clone()
        if self.importance == "fisher":
            query, number = SquaredGradients(), request.after + 1
            kept = mean_square(clients.query(weights, query, round=number), weights)
            who = sorted(request.clients)
            asked = clients.leavers.query(weights, query, who, round=number)
            gone = mean_square(asked, weights)
        else:
            gone = _moved(history, request.clients)
            kept = _moved(history.without(request.clients), None)
        chosen = gone > self.alpha * kept
        left = (self.dampening * kept / torch.where(chosen, gone, 1.0)).clamp_max(1)
        parameters = history.layout.parameters
        dampened = torch.where(chosen, weights * left, weights)
        weights[parameters] = dampened[parameters]
        yield weights


def _moved(history: History, clients: frozenset[ClientId] | None) -> Vector:
    """Return how far the kept rounds' updates of ``clients`` moved each weight in the mean, [d]."""
    total, count = torch.zeros(history.layout.size), 0
    for stored in history:
        updates = (stored if clients is None else stored.only(clients)).updates
        total += updates.deltas.sum(0)
        count += len(updates.clients)
    return (total / max(1, count)).abs()
