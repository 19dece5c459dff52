"""No unlearning: the trained model stays as it is.

The upper bound of what a model remembers. Every method must forget more than this one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.unlearning import Clients, Guarantee, History, Needs, Request, Vector


@dataclass(frozen=True, slots=True)
class Nothing:
    """Leave the model alone."""

    guarantee: ClassVar[Guarantee] = "none"

    @property
    def needs(self) -> Needs:
        """Nothing is recorded."""
        return Needs()

    def length(self, request: Request) -> int:
        """No rounds."""
        return 0

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield nothing."""
        yield from ()
