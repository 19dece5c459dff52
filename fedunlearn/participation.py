"""When those who leave took part for the last time, and what that round did."""

from collections.abc import Set

from fedunlearn.blocks import examples, step_of
from fedunlearn.history import ClientId, History, Kept
from fedunlearn.layout import Vector


def last_rounds(history: History, leavers: Set[ClientId]) -> list[tuple[Kept, Set[ClientId]]]:
    """Find each leaver's last round with somebody who remains, and whose last round it is.

    A leaver who never took part is in none of them.
    """
    rounds: list[tuple[Kept, Set[ClientId]]] = []
    missing = set(leavers)
    for stored in reversed(history):
        ending = missing & set(stored.clients)
        if ending and not leavers >= set(stored.clients):
            rounds.append((stored, ending))
            missing -= ending
    return rounds


def mean_update(stored: Kept, d: int) -> Vector:
    """Return the mean update of the clients shown, [d]: the step FedAvg takes with them alone."""
    return step_of(stored, d) * (stored.cohort_examples / int(examples(stored).sum()))
