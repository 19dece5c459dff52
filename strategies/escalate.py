"""Escalation: try the cheapest strategy first, test what it made, and go on until it is good.

    for strategy s_1, s_2, …:  w <- s_i from w_T
                               stop once  attack(w) <= a  and  accuracy(w) >= accuracy(w_T) - u

Every attempt starts from the model before the request and the history as it was, so the cost is
that of all attempts. The server tests what it can know: each leaver hands over its trigger, and how
often that works is ``attack``, on records of the server that it has labelled; ``accuracy`` is that
on the same records. It never knows a retrained model. A trigger that does not work on w_T either
proves nothing: then only the last strategy is run. The last one's model stands untested.

The test by planted triggers is that of Sommer, Song, Wagh, Mittal. Athena: probabilistic
verification of machine unlearning. PETS 2022, arXiv 2003.04247; there it is the leaver who tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
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
from strategies.subtraction import Subtraction


@dataclass(frozen=True, slots=True)
class Escalate:
    """Run ``strategies`` one after another until a model passes the server's test."""

    guarantee: ClassVar[Guarantee] = "none"

    strategies: tuple[UnlearningStrategy, ...] = (Subtraction(), FedEraser(), Retrain())
    """What is tried, the cheapest first; the last one's model stands, whatever the test says."""
    forgotten: checks.ShareBelowOne = 0.02
    """Attack success of every leaver's trigger up to which it counts as forgotten."""
    utility: checks.Share = 0.05
    """Accuracy that a model may lack next to the one before the request."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and where rounds would be replaced twice.

        Rounds that an attempt ran again take the place of training's; a later attempt of another
        kind would leave a history that led to no model.
        """
        checks.fields(self)
        object.__setattr__(self, "strategies", tuple(self.strategies))
        if not self.strategies:
            raise checks.field_refused(self, "strategies", " must list one strategy or more.")
        for place, strategy in enumerate(self.strategies[:-1]):
            if strategy.needs.replaces:
                rest = f"[{place}] runs training rounds again, which only the last one may do."
                raise checks.field_refused(self, "strategies", rest)

    @property
    def needs(self) -> Needs:
        """What all of them need, and the server's test."""
        return Needs.union([*(each.needs for each in self.strategies), Needs(verifies=True)])

    def length(self, request: Request) -> int:
        """At most the rounds of all."""
        return sum(each.length(request) for each in self.strategies)

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the models of each attempt in turn."""
        original, verifier, last = history.final, clients.verifier, len(self.strategies) - 1
        proves = verifier.attack_success(original) > self.forgotten
        least = verifier.accuracy(original) - self.utility
        for place, strategy in enumerate(self.strategies):
            if not proves and place < last:
                continue
            shown, weights = history.select(strategy.needs, request.after), original
            attempt = strategy.unlearn(request, shown, clients.narrowed(strategy.needs))
            for weights in attempt:
                yield weights
            if weights is original:  # it made no model: the one before the request is its result
                yield weights
            if (
                place < last
                and verifier.attack_success(weights) <= self.forgotten
                and verifier.accuracy(weights) >= least
            ):
                return
