"""Rapid retraining: from the first model without the leavers, by quasi-Newton steps.

    w_0 -> for K rounds: w <- w + sum_k n_k D_k / sum_k n_k

over those who remain, as retraining, but each of their local steps divides by the diagonal of the
empirical Fisher information, ``fisher.DiagonalFisher``, so that fewer rounds are to suffice. The
server takes the plain mean, whatever training did. All else is training's: epochs, batches,
objective, schedule. Nothing of the leavers is in the result, but it is that of another optimizer:
compare it with training by the same one (``training=rapid``), or the gain is the optimizer's.

Liu, Xu, Yuan, Wang, Li. The right to be forgotten in federated learning: an efficient realization
with rapid retraining. INFOCOM 2022, arXiv 2203.07320. Public ports estimate the curvature by
Hutchinson's method with a second backward pass in place of the Fisher information.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from fedunlearn.unlearning import (
    Clients,
    DiagonalFisher,
    Guarantee,
    History,
    Needs,
    Request,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class RapidRetrain:
    """Train anew for ``rounds`` rounds with another local optimizer."""

    guarantee: ClassVar[Guarantee] = "none"  # exact only where training used this optimizer

    rounds: checks.Count = 12
    """Rounds from the first model on."""
    optimizer: DiagonalFisher = field(default_factory=DiagonalFisher)
    """How local steps are taken; all else is training's."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Those who remain train; the first model is in every history."""
        return Needs(remaining=True)

    def length(self, request: Request) -> int:
        """As many rounds as asked for."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after each round."""
        work = replace(clients.work, optimizer=self.optimizer)
        weights = history.initial
        for number in range(1, self.rounds + 1):
            weights = weights + fedavg_step(clients.train(weights, work=work, round=number))
            yield weights
