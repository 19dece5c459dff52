"""SGA: the leavers climb their own loss, and may be held to what the others know (SGA-EWC).

    v <- the leavers' work from w_T on  l_u(w) + lambda sum_j F_j (w_j - w_T,j)^2
    ascent:   l_u = -CE,  |w - w_T| <= radius |w_T - w_0|,   w <- v
    reflect:  l_u =  CE,                                     w <- w_T - (v - w_T) = 2 w_T - v

F is the mean squared gradient of single records over those who remain: one sum of each, and only
sums over all are used. Without ``protect`` lambda is 0 and nobody but the leavers is asked.
Ordinary rounds are to follow: ``recovery=plain``.

Wu, Guo, Wang, Hong, Zhang, Ding. Federated unlearning: guarantee the right of clients to forget.
IEEE Network, 2022 (ascent, EWC). Dhasade, Ding, Guo, Kermarrec, De Vos, Wu. QuickDrop: efficient
federated unlearning via synthetic data generation. Middleware 2024, arXiv 2311.15603 (reflected,
called SGA there). A public port takes F from the records that are to be forgotten, which protects
what should go, adds up batches' squares without dividing by their number, and lets ascent run
without a bound. Here F is that of those who remain, a mean, and ascent has a ball.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from fedunlearn.methods import Climb, Consolidation, Direction, mean_square
from fedunlearn.unlearning import (
    Clients,
    FisherPenalty,
    Guarantee,
    History,
    Needs,
    Request,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class Sga:
    """Go ``direction``, away from what the leavers know; ``protect`` what the others do."""

    guarantee: ClassVar[Guarantee] = "none"

    direction: Direction = field(default_factory=Climb)
    """Up the loss in a ball, or down it and reflected."""
    protect: Consolidation | None = None
    """The penalty on what moves those who remain; None: none."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """The leavers work; those who remain send a sum where they are protected."""
        return Needs(leaver=True, remaining=self.protect is not None)

    def length(self, request: Request) -> int:
        """One round: the leavers work at the same time."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model that the leavers' mean update leads to, or its mirror image."""
        weights, number, fisher = history.final, request.after + 1, None
        work = self.direction.asked(history)
        if self.protect is not None:
            answers = clients.query(weights, self.protect.importance, round=number)
            fisher = mean_square(answers, weights)
            work = replace(work, objective=FisherPenalty(work.objective, self.protect.strength))
        who = sorted(request.clients)
        sent = clients.leavers.train(weights, who, work, round=number, other=fisher)
        yield weights + self.direction.sign * fedavg_step(sent)
