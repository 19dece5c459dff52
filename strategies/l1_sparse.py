"""l1-sparse: fine-tuning that first makes the model sparse, and then less and less so.

    for r = 1 … R:
        lambda_r = lambda max(0, 1 - (r - 1) / (R - K))
        w <- FedAvg round of those who remain, from w, on their objective + lambda_r |w|_1

K is ``free``: the last rounds, without the penalty. A sparse model has less room for what nobody
teaches it any more, and forgets it faster; as the penalty fades, it gets its accuracy back.

Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu. Model sparsity can simplify machine unlearning. NeurIPS
2023, arXiv 2304.04934. The schedule is that of its public code, which leaves the penalty out
without a word where K is not below R: here that is refused. The federation is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    L1Penalty,
    LocalWork,
    Needs,
    Request,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class L1Sparse:
    """Train on for ``rounds`` rounds, under a penalty that fades until ``free`` are left."""

    guarantee: ClassVar[Guarantee] = "none"

    strength: checks.NotNegative = 0.005
    """Lambda of the first round: how much the sum of all absolute weights counts."""
    rounds: checks.Count = 10
    """Rounds of those who remain."""
    free: checks.CountFromZero = 2
    """Last of these, without the penalty; fewer than all."""
    work: LocalWork | None = None
    """What a client does in a round, the penalty apart; null: the ordinary work."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and where no round has the penalty."""
        checks.fields(self)
        if self.free >= self.rounds:
            rest = f" must be below rounds={self.rounds}: no round would have the penalty."
            raise checks.field_refused(self, "free", rest)

    @property
    def needs(self) -> Needs:
        """Those who remain work."""
        return Needs(remaining=True)

    def length(self, request: Request) -> int:
        """Return the number of rounds."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after every round."""
        weights, first, work = history.final, request.after + 1, self.work or clients.work
        for done in range(self.rounds):
            strength = self.strength * max(0.0, 1 - done / (self.rounds - self.free))
            sparse = replace(work, objective=L1Penalty(work.objective, strength))
            updates = clients.train(weights, work=sparse, round=first + done)
            weights = weights + fedavg_step(updates)
            yield weights
