"""PUF: the leavers train as ever, and the model takes the opposite step, scaled up.

    w <- w + (sum_k n_k D_k - eta sum_u n_u D_u) / (sum_k n_k + sum_u n_u)

with D the updates of one ordinary local training from the present w, u over the leavers and k over
those who remain and work in the same round: the cohort in mode ``regular``, nobody in ``special``.
To the clients it is a round like any other. Ordinary rounds (``recovery=plain``) follow.

Mora, Mazzocca, Montanari, Bellavista. Federated Unlearning Made Practical: Seamless Integration
via Negated Pseudo-Gradients. 2025, arXiv 2504.05822. Its code takes eta = 20 in mode regular and
2 in mode special; what is right depends on the federation, and too much destroys the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

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

ETAS = {"regular": 20.0, "special": 2.0}
"""The modes, and what the authors' code takes for eta in each."""


@dataclass(frozen=True, slots=True)
class Puf:
    """Step back ``eta`` times what ``epochs`` epochs of the leavers' training would add."""

    guarantee: ClassVar[Guarantee] = "none"

    mode: Literal["regular", "special"] = "regular"
    """Who works beside the leavers: a round's cohort (regular), or nobody (special)."""
    eta: checks.Positive | None = None
    """How far the leavers' step is taken back; None: 20 in regular, 2 in special."""
    epochs: checks.Count = 1
    """Local epochs of the leavers."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """The leavers work once more, and in a regular round some of those who remain."""
        return Needs(leaver=True, remaining=self.mode == "regular")

    def length(self, request: Request) -> int:
        """One round."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after the round."""
        weights, number = history.final, request.after + 1
        work = replace(clients.work, epochs=self.epochs)
        leaving = clients.leavers.train(weights, request.clients, work, round=number)
        eta = ETAS[self.mode] if self.eta is None else self.eta
        step, records = -eta * fedavg_step(leaving), leaving.examples.sum()
        if self.mode == "regular":
            others = clients.train(weights, round=number)
            share = records / (records + others.examples.sum()).clamp_min(1)
            step = share * step + (1 - share) * fedavg_step(others)
        yield weights + step
