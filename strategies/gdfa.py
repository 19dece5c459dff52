"""GDFA: learn the leavers' records from places all around, and take back what all runs agree on.

    w_k <- w + rho z_k g / |g|           k = 1 … K;  z_k: a sign of each layer,  sum_k z_k = 0
    tau_k <- the leavers' update, by work that starts at w_k
    w <- w - lambda tau                  tau_i: the mean of those tau_k,i that have the sign of most

g is the gradient of the leavers' records at w. A step that is learnt from everywhere around belongs
to the records, and one that only leads back from w_k to w cancels out. The mean of all w_k is w.
Ordinary rounds are to follow: ``recovery=plain``.

Weng et al. Geometry-driven federated unlearning with directional task vector alignment. CVPR 2026,
without public code; rho 0.5, lambda 1, 5 local epochs at a rate of 0.1. That the length of g is
taken out, and that ties move nothing, is our reading.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from fedunlearn.methods import agreed, around, mean_gradient
from fedunlearn.unlearning import (
    Clients,
    Gradient,
    Guarantee,
    History,
    LocalWork,
    Needs,
    Request,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class Gdfa:
    """Go ``scale`` times the way back that ``models`` runs of the leavers agree on."""

    guarantee: ClassVar[Guarantee] = "none"

    models: checks.Count = 4
    """Runs of the leavers (K), each from another place; even."""
    radius: checks.NotNegative = 0.02
    """Rho: how far from the model they start."""
    scale: checks.Positive = 5.0
    """Lambda: how often what they agree on is taken back."""
    work: LocalWork | None = None
    """What a leaver does in each run; null: the ordinary work."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
        if self.models % 2:
            rest = f" must be even, as each layer is moved both ways alike, not {self.models}."
            raise checks.field_refused(self, "models", rest)

    @property
    def needs(self) -> Needs:
        """The leavers work."""
        return Needs(leaver=True)

    def length(self, request: Request) -> int:
        """One step: all runs can go on at the same time."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model less what all runs agree on."""
        number, who, weights = request.after + 1, sorted(request.clients), history.final
        asked = clients.leavers.query(weights, Gradient(), who, round=number)
        slope, rng = mean_gradient(asked, weights), clients.rng(number)
        tasks = [
            fedavg_step(clients.leavers.train(start, who, self.work, round=number))
            for start in around(history.layout, weights, slope, self.radius, self.models, rng)
        ]
        yield weights - self.scale * agreed(torch.stack(tasks))
