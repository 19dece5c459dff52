"""FedMemPrune: draw anew what those who remain hardly move, and let them learn on.

    w <- w_T + D,  s_i = |D_i|    D: the mean update of those who remain, in one ordinary round
    the share rho of all w_i with the smallest s_i  <-  fresh values

What those who remain share pulls on the weights that hold it; a weight on which nobody of them
pulls is redundant to them, so that what it holds may be memories of the leavers. Ordinary rounds
are to follow: ``recovery=plain``.

Wei et al. Rethinking federated unlearning via the lens of memorization. KDD 2026, arXiv 2605.24545;
rho 0.3 (IID), 0.4 (not IID), 0.2 (CIFAR-100), then 30 rounds. Its public code ranks and redraws
scales of normalisations as well, within 0.1 of 0, which silences whole channels; here those stay.
It draws a random three quarters of what it chose unless told otherwise; here all of it is drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.methods import besides_norms, smallest
from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Needs,
    Request,
    Vector,
    checks,
    fedavg_step,
    redrawn,
)


@dataclass(frozen=True, slots=True)
class FedMemPrune:
    """Redraw the ``share`` of the model that one round of those who remain moves least."""

    guarantee: ClassVar[Guarantee] = "none"

    share: checks.Share = 0.8
    """Rho: share of all weights and biases but normalisations' that is drawn anew."""
    spread: checks.Positive = 2.449
    """Fresh weights lie within this, over the root of their fan-in: sqrt(6) is He's."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """One round of those who remain."""
        return Needs(remaining=True)

    def length(self, request: Request) -> int:
        """One round, at whose end values are drawn."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model of the round, with fresh values; the old one where nobody answers."""
        number, layout, weights = request.after + 1, history.layout, history.final
        updates = clients.train(weights, round=number)
        if updates.clients:
            step = fedavg_step(updates)
            unmoved = smallest(step.abs(), besides_norms(layout), self.share)
            rng = clients.rng(number)
            weights = redrawn(layout, weights + step, unmoved, rng, self.spread)
        yield weights
