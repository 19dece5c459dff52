"""FedOSD: forget along a direction that is orthogonal to what everybody else would change.

    d = g_u - G^T (G G^T)^+ G g_u,    w <- w + lr |g_u| d / |d|

g_u is the mean update of the leavers, who descend on the unlearning cross-entropy
``-log(1 - p_y / 2)``, and G [k, d] holds the updates of the round's cohort of those who remain, on
their ordinary objective; all train for ``epochs`` epochs from w. To first order the step costs
those who remain nothing. Where they leave hardly any direction, ``|d| < 1e-3 |g_u|``, the round
changes nothing: d would be noise.

The paper's updates are divided by the learning rate and its step is multiplied by it again: that
rate is in the updates here, so ``lr`` = 1 is the paper's step. Its second stage is
``recovery=projected``, which keeps the model from going back.

Pan, Wang, Li, Zheng, Wang, Tang, Zhao. Federated Unlearning with Gradient Descent and Conflict
Mitigation. AAAI 2025, arXiv 2412.20200. Its public code forms the pseudo-inverse in float32 with an
absolute cut-off, so that the direction depends on the scale of the gradients; here it does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Needs,
    Request,
    UnlearningCrossEntropy,
    Vector,
    checks,
    fedavg_step,
    orthogonal,
)


@dataclass(frozen=True, slots=True)
class FedOSD:
    """Take ``rounds`` orthogonal steps, ``lr`` times as long as the leavers' own."""

    guarantee: ClassVar[Guarantee] = "none"

    rounds: checks.Count = 15
    """Rounds of steps orthogonal to the updates of those who remain."""
    epochs: checks.Count = 1
    """Local epochs of everybody in such a round."""
    lr: checks.Positive = 1.0
    """Length of a step, as a multiple of the leavers' mean update."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Work of everybody, but nothing that training must record."""
        return Needs(remaining=True, leaver=True)

    def length(self, request: Request) -> int:
        """As many rounds as asked for."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after each step."""
        trained = history.layout.parameters
        work = replace(clients.work, epochs=self.epochs)
        forgetting = replace(work, objective=UnlearningCrossEntropy())
        weights = history.final
        for number in range(request.after + 1, request.after + self.rounds + 1):
            leavers = clients.leavers.train(weights, clients.leavers.ids, forgetting, round=number)
            others = clients.train(weights, work=work, round=number)
            if others.clients:
                step = torch.zeros_like(weights)
                step[trained] = orthogonal(fedavg_step(leavers)[trained], others.deltas[:, trained])
                weights = weights + self.lr * step
            yield weights
