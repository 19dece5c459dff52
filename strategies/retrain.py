"""Retraining from scratch without the leavers: what every other method is measured against.

    w_0 -> FedAvg over those who remain, for the same rounds, schedule and seeds as training

It starts from the stored first model. The seeds of clients and cohorts are functions of the round
and the client, so where nobody leaves it repeats training bit for bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.unlearning import Clients, Guarantee, History, Needs, Request, Vector


@dataclass(frozen=True, slots=True)
class Retrain:
    """Train again from the first model, without the leavers."""

    guarantee: ClassVar[Guarantee] = "exact"

    @property
    def needs(self) -> Needs:
        """Only the first model, which every history holds."""
        return Needs(remaining=True, replaces=True)

    def length(self, request: Request) -> int:
        """As many rounds as training took."""
        return request.after

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after each round of training anew."""
        for _, weights in clients.rounds(history.initial, 1, request.after):
            yield weights
