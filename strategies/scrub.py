"""SCRUB: disobey the old model on the leavers' records, obey it on all others.

    for r = 1 … R:
        if r <= m:  w <- w + mean_u(delta_u)    leavers: work up  tau^2 KL(p_T(x) | p_w(x))
        w <- w + mean_k(delta_k)                others:  work down  gamma CE + alpha tau^2 KL

p_T is what the trained model says at temperature tau; it is frozen, and sent along. Both means are
weighted by records. After the m rounds of both, those who remain go on alone and mend the model.
The divergence is least where the model is the teacher, as it is at first: the first work up begins
at a gradient of zero, and only weight decay leads it away. It counts from the second round on.

Kurmanji, Triantafillou, Hayes, Triantafillou. Towards unbounded machine unlearning. NeurIPS 2023,
arXiv 2302.09880. The federation is ours; there, passes over either kind of records take turns in
the same order. Its rewinding to an earlier checkpoint is not here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fedunlearn.unlearning import (
    Blend,
    Clients,
    CrossEntropy,
    Guarantee,
    History,
    Imitation,
    LocalWork,
    Needs,
    Request,
    Sgd,
    Vector,
    checks,
    fedavg_step,
)


def _apart() -> LocalWork:
    """Return work up the divergence: down its negative, clipped."""
    objective = Blend((Imitation(4.0),), (-1.0,))
    optimizer = Sgd(lr=0.02, weight_decay=5e-4)
    return LocalWork(epochs=1, clip_norm=1.0, optimizer=optimizer, objective=objective)


def _together() -> LocalWork:
    """Return work down the cross-entropy and a little of the divergence."""
    objective = Blend((CrossEntropy(), Imitation(4.0)), (0.99, 0.001))
    return LocalWork(epochs=5, optimizer=Sgd(lr=0.02), objective=objective)


@dataclass(frozen=True, slots=True)
class Scrub:
    """Alternate for ``passes`` rounds, then mend for the rest of ``rounds``."""

    guarantee: ClassVar[Guarantee] = "none"

    rounds: checks.Count = 5
    """Rounds of those who remain."""
    passes: checks.CountFromZero = 3
    """First of these, before which the leavers work; the first pass begins without a slope."""
    leaving: LocalWork = field(default_factory=_apart)
    """What every leaver does in a pass: away from the old model."""
    staying: LocalWork = field(default_factory=_together)
    """What each of those who remain does in a round: its labels, and near the old model."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for more passes than rounds."""
        checks.fields(self)
        if self.passes > self.rounds:
            rest = f" must be at most rounds={self.rounds}: each pass comes before a round."
            raise checks.field_refused(self, "passes", rest)

    @property
    def needs(self) -> Needs:
        """Everybody works."""
        return Needs(remaining=True, leaver=self.passes > 0)

    def length(self, request: Request) -> int:
        """Return the number of rounds."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after every round of those who remain."""
        teacher = weights = history.final
        who, first = sorted(request.clients), request.after + 1
        for number in range(first, first + self.rounds):
            if number < first + self.passes:
                asked = clients.leavers
                away = asked.train(weights, who, self.leaving, round=number, other=teacher)
                weights = weights + fedavg_step(away)
            near = clients.train(weights, work=self.staying, round=number, other=teacher)
            weights = weights + fedavg_step(near)
            yield weights
