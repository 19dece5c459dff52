"""NegGrad+: the leavers climb their loss while those who remain descend theirs.

    for r = 1 … R:   w <- w + alpha mean_r(delta_r) + (1 - alpha) mean_u(delta_u)

with delta_r the updates of those who remain, by ordinary work, and delta_u those of the leavers, by
ascent on the cross-entropy, clipped; each mean is weighted by records. For one small step each it
is descent on ``alpha L_r - (1 - alpha) L_u``, the gradient difference.

Kurmanji, Triantafillou, Hayes, Triantafillou. Towards unbounded machine unlearning. NeurIPS 2023,
arXiv 2302.09880 (NegGrad+); alpha 0.95 in public code. The federation is ours; there, a batch of
either kind takes turns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fedunlearn.unlearning import (
    Ascent,
    Clients,
    Guarantee,
    History,
    LocalWork,
    Needs,
    Request,
    Sgd,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class NegGrad:
    """Go ``alpha`` of the way with those who remain, and the rest away from the leavers."""

    guarantee: ClassVar[Guarantee] = "none"

    alpha: checks.Share = 0.7
    """What the step of those who remain counts; the leavers' ascent counts the rest."""
    rounds: checks.Count = 5
    """Rounds of everybody."""
    work: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=1, clip_norm=1.0, optimizer=Sgd(lr=0.01), objective=Ascent()
        )
    )
    """What every leaver does in a round: ascent."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Everybody works."""
        return Needs(remaining=True, leaver=True)

    def length(self, request: Request) -> int:
        """Return the number of rounds."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after every round."""
        weights, first = history.final, request.after + 1
        for number in range(first, first + self.rounds):
            down = fedavg_step(clients.train(weights, round=number))
            leaving = clients.leavers.train(weights, request.clients, self.work, round=number)
            weights = weights + self.alpha * down + (1 - self.alpha) * fedavg_step(leaving)
            yield weights
