"""The rounds after unlearning, shared by all strategies so that they are compared at equal cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fedunlearn import checks
from fedunlearn.history import Updates
from fedunlearn.layout import Vector
from fedunlearn.strategy import Clients


class Recovery(Protocol):
    """What happens between a strategy's last model and the next training round."""

    @property
    def rounds(self) -> int:
        """How many rounds `recover` takes."""

    def recover(
        self, weights: Vector, original: Vector, after: int, clients: Clients
    ) -> Iterator[tuple[Updates, Vector]]:
        """Yield the updates of each recovery round and the model [d] after it.

        ``weights`` [d] is the unlearned model, ``original`` [d] the one before unlearning, and
        ``after`` the training round at which the request came.
        """


@dataclass(frozen=True, slots=True)
class Nothing:
    """No recovery: the strategy's last model is the result."""

    @property
    def rounds(self) -> int:
        """Take no rounds."""
        return 0

    def recover(
        self, weights: Vector, original: Vector, after: int, clients: Clients
    ) -> Iterator[tuple[Updates, Vector]]:
        """Yield nothing."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Plain:
    """Ordinary training rounds with those who remain."""

    rounds: int = 5

    def __post_init__(self) -> None:
        """Raise `Refused` unless ``rounds`` counts rounds."""
        checks.whole("recovery.rounds", self.rounds)

    def recover(
        self, weights: Vector, original: Vector, after: int, clients: Clients
    ) -> Iterator[tuple[Updates, Vector]]:
        """Train on, with the learning rate that the rounds after the request would have had."""
        return clients.rounds(weights, after + 1, after + self.rounds)
