"""Ridge head: a frozen net with a last layer in closed form, which forgets by subtraction, exactly.

    A = sum_k A_k - sum_u A_u,   B = sum_k B_k - sum_u B_u,   (A + lambda I) V = B

with ``A_k = sum_i x_i x_i^T`` and ``B_k = sum_i x_i y_i^T`` over the records of client k: x_i what
enters the last layer, and a 1 for the bias, y_i the one-hot label. The net below is the first
model, which no client has touched, and every client sent its sums before round 1; so the result
is the model that those who remain would make by themselves. Nobody is asked.

Quan, Wu, Montana. Exact Federated Continual Unlearning for Ridge Heads on Frozen Foundation
Models. 2026, arXiv 2603.12977. It is exact for the ridge model, which is not the trained one: its
own original is what `unlearn` yields where nobody leaves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from fedunlearn.methods import ridge
from fedunlearn.unlearning import Clients, Guarantee, Head, History, Needs, Request, Vector, checks


@dataclass(frozen=True, slots=True)
class RidgeHead:
    """Solve the last layer without the leavers' sums; lambda is ``penalty``."""

    guarantee: ClassVar[Guarantee] = "exact"

    penalty: checks.Positive = 0.01
    """The lambda, against sums over all records of those who remain."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """The sums of every client."""
        return Needs(statistics=True)

    def length(self, request: Request) -> int:
        """One step: the server does it alone."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the first model with the head of those who remain."""
        if history.statistics is None:
            raise LookupError("No sums were gathered in training; declare Needs(statistics=True).")
        head, sums = Head.of(history.layout), history.statistics
        nothing = torch.zeros(head.sums, dtype=torch.float64)
        gone = (sums[client] for client in sorted(request.clients & sums.keys() - clients.ids))
        total = sum(sums.values(), nothing) - sum(gone, nothing)
        yield head.put(history.initial, ridge.solve(total, self.penalty))
