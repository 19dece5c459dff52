"""Fine-tuning: ordinary training goes on without the leavers, and hopes that the model forgets.

    w_T -> FedAvg over those who remain, for K rounds

Nothing makes the model forget, so it forgets slowly, and memories come back last. Many methods
are a perturbation followed by this: compare them with it at the same K.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.unlearning import Clients, Guarantee, History, Needs, Request, Vector, checks


@dataclass(frozen=True, slots=True)
class FineTune:
    """Train on with those who remain."""

    guarantee: ClassVar[Guarantee] = "none"

    rounds: checks.Count = 5
    """Ordinary rounds with those who remain."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Nothing is recorded."""
        return Needs(remaining=True)

    def length(self, request: Request) -> int:
        """As many rounds as asked for."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after each further round."""
        first, last = request.after + 1, request.after + self.rounds
        for _, weights in clients.rounds(history.final, first, last):
            yield weights
