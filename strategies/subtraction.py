"""Subtraction: take the leavers' stored updates out of the model, then distil the old one back.

    w = w_T - s sum_t sum_u n_u D_u^t / sum_k n_k

over all rounds t and leavers u; k runs over the whole cohort of round t, as if the leavers had
sent zeros. That breaks the model, so it is repaired on the server: as a student it imitates the
old model on unlabelled records, ``tau^2 KL(teacher | student)``.

Wu, Zhu, Mitra. Federated Unlearning with Knowledge Distillation. 2022, arXiv 2201.09441.
The teacher still knows the leavers' clean records: a backdoor vanishes because nothing triggers
it in the server's records, which does not show that the rest is forgotten.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fedunlearn.unlearning import (
    Clients,
    Distillation,
    Guarantee,
    History,
    LocalWork,
    Needs,
    Request,
    Sgd,
    Vector,
    checks,
)


@dataclass(frozen=True, slots=True)
class Subtraction:
    """Subtract ``scale`` times what the leavers added; then ``rounds`` times distil by ``work``."""

    guarantee: ClassVar[Guarantee] = "none"

    scale: checks.ShareAboveZero = 1.0
    """Share of the leavers' stored updates that is taken out."""
    rounds: checks.CountFromZero = 10
    """Rounds of distillation on the server's records; 0: subtract only."""
    work: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=10, optimizer=Sgd(lr=0.01), objective=Distillation(temperature=3.0)
        )
    )
    """What each round of distillation does."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Every update of every round, and unlabelled records where it distils."""
        return Needs(updates=True, proxy=self.rounds > 0)

    def length(self, request: Request) -> int:
        """Take one round to subtract, and those of the distillation."""
        return 1 + self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after the subtraction and after each round of distillation."""
        weights = history.final
        for stored in history:
            weights = weights - self.scale * stored.share(request.clients)
        yield weights

        for number in range(1, self.rounds + 1):
            weights = clients.proxy.distil(history.final, weights, self.work, round=number)
            yield weights
