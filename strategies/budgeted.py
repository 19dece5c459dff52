"""A budget of damage: serve requests by one strategy until they have added up, then retrain once.

    a_0, R <- accuracy(w), {}                                  before the first request
    at each request, from the model w that it finds:
        spent   =  max over r in R of attack_r(w) > s   or   accuracy(w) < a_0 - u
        w'      <- the strategy from w, or, where the budget is spent, retraining
        a_0     <- accuracy(w')  where it retrained             the budget begins anew
        R       <- R and who asked

What one request leaves behind may be little; after ten it may be a model that nobody wants, and
those who left long ago may be back in it. So the server tests the model that a request finds: by
the triggers of all who asked before (``attack_r``), and by accuracy next to the model before the
first request, both on records of its own that it has labelled. It never knows a retrained model.
The test is that of `strategies.escalate`; how far a budget may go is not a paper's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Needs,
    Request,
    UnlearningStrategy,
    Vector,
    checks,
)
from strategies.federaser import FedEraser
from strategies.retrain import Retrain

LIMITS = ("attack_success", "accuracy_loss")
"""What can be limited."""


@dataclass(frozen=True, slots=True)
class Budgeted:
    """Serve a request by ``strategy``, unless those before it went beyond ``limits``: retrain."""

    guarantee: ClassVar[Guarantee] = "none"

    strategy: UnlearningStrategy = field(default_factory=FedEraser)
    """What serves requests while the budget lasts."""
    limits: Mapping[str, checks.Share] = field(
        default_factory=lambda: {"attack_success": 0.05, "accuracy_loss": 0.05}
    )
    """Up to where the model before a request is good enough; beyond one of them it is retrained."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for a limit of something else."""
        checks.fields(self)
        for name in self.limits:
            if name not in LIMITS:
                rest = f" does not exist{checks.nearest(str(name), LIMITS)}"
                raise checks.field_refused(self, f"limits.{name}", rest)
        if not self.limits:
            raise checks.field_refused(self, "limits", f" must name one of {', '.join(LIMITS)}.")

    @property
    def strategies(self) -> tuple[UnlearningStrategy, ...]:
        """All that it may run."""
        return self.strategy, Retrain()

    @property
    def needs(self) -> Needs:
        """What both need, and the server's test."""
        return Needs.union([*(each.needs for each in self.strategies), Needs(verifies=True)])

    def length(self, request: Request) -> int:
        """At most the rounds of the longer one."""
        return max(each.length(request) for each in self.strategies)

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the models of the strategy that serves this request."""
        spent = self._spent(history, clients)
        chosen = self.strategies[spent]
        shown, weights = history.select(chosen.needs, request.after), history.final
        for weights in chosen.unlearn(request, shown, clients.narrowed(chosen.needs)):
            yield weights
        if spent:
            clients.note("accuracy", clients.verifier.accuracy(weights))
            clients.note("retrained", request.after)

    def _spent(self, history: History, clients: Clients) -> bool:
        """Test the model before a request; note its accuracy where it is the first one."""
        accuracy = clients.verifier.accuracy(history.final)
        if "accuracy" not in history.notes:
            clients.note("accuracy", accuracy)
            return False
        attack = clients.verifier.earlier_attack_success(history.final)
        damage = {
            "attack_success": attack,
            "accuracy_loss": history.notes["accuracy"] - accuracy,
        }
        return any(damage[name] > limit for name, limit in self.limits.items())
