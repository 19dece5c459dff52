"""MoDe: mix in a model that is trained anew, and let all clients guide the mixture back to use.

    V <- FedAvg round of those who remain, from V             for the first ``degrading`` rounds
    w <- m w + (1 - m) V                                      in the same rounds
    w <- FedAvg round of all from w                           in all ``rounds``

V starts as the first model and never meets the leavers; m is ``momentum``. In the last line those
who remain train on their ordinary objective, and the leavers on what V says of their records,
``argmax V(x)``, in place of their labels; with ``ask_leaver=false`` they stay out.

After R rounds a share ``m^R`` of the old weights is left: the method is a partial retraining, and
costs two models a round and client. Early on, the mean of two unlike nets can be worse than both.

Zhao, Wang, Qi, Huang, Wei, Zhang. Federated Unlearning With Momentum Degradation. IEEE Internet of
Things Journal, 2023. No code of the authors is known; the order of the lines is that of a
third-party port, and so is m = 0.95.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Needs,
    PseudoLabels,
    Request,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class MoDe:
    """Guide for ``rounds`` rounds of ``epochs`` epochs; mix in the first ``degrading`` of them."""

    guarantee: ClassVar[Guarantee] = "none"

    rounds: checks.Count = 20
    """Rounds of guidance by all."""
    degrading: checks.CountFromZero = 20
    """First of these, which mix in the model that is trained anew."""
    momentum: checks.Share = 0.95
    """Share of the old model that each mixing keeps."""
    epochs: checks.Count = 1
    """Local epochs of a round."""
    ask_leaver: bool = True
    """Whether the leavers guide, too, on that model's labels."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """The first model, which every history holds, and work of everybody."""
        return Needs(remaining=True, leaver=self.ask_leaver)

    def length(self, request: Request) -> int:
        """As many rounds as asked for."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the mixture after each round of guidance."""
        work = replace(clients.work, epochs=self.epochs)
        imitating = replace(work, objective=PseudoLabels())
        weights, fresh = history.final, history.initial
        for number in range(1, self.rounds + 1):
            if number <= self.degrading:
                fresh = fresh + fedavg_step(clients.train(fresh, work=work, round=number))
                weights = self.momentum * weights + (1 - self.momentum) * fresh

            later = request.after + number
            guides = [clients.train(weights, work=work, round=later)]
            if self.ask_leaver:
                leavers = clients.leavers
                guides.append(
                    leavers.train(weights, leavers.ids, imitating, round=later, other=fresh)
                )
            weights = weights + fedavg_step(*guides)
            yield weights
