"""Going back to an earlier model of the stored path, and on from there."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from fedunlearn.history import History
from fedunlearn.models import Vector
from fedunlearn.unlearning import Clients


@dataclass(frozen=True, slots=True)
class Restart:
    """A model of the path, and the training round that comes next."""

    weights: Vector
    """[d]"""
    number: int

    def rounds(self, clients: Clients, last: int) -> Iterator[Vector]:
        """Run the ordinary rounds up to ``last`` again; yield the model after each."""
        for _, weights in clients.rounds(self.weights, self.number, last):
            yield weights


def cuts(history: History, last: int) -> list[int]:
    """Return the places of stored rounds before which the path can be cut, and its end.

    What is run again bears the numbers from that round's to ``last``, and takes the place of what
    is stored under these numbers and higher ones. That must be all that comes later and nothing
    that came before, although recovery after an earlier request bears the numbers of the training
    that followed it. Ascending; before the first round it can always be cut.
    """
    numbers = [stored.number for stored in history]
    before = list(accumulate(numbers, max))[:-1]
    behind = list(accumulate(reversed(numbers), min))[-2::-1]
    apart = (
        place
        for place, (highest, lowest) in enumerate(zip(before, behind, strict=True), start=1)
        if highest < lowest and numbers[place] <= last
    )
    return sorted({0, *apart, len(numbers)})


def restart(history: History, place: int, last: int) -> Restart:
    """Return the model before the stored round at ``place``; after the last one the present model.

    The first place is the first model of all, also where no round 1 is kept. Needs stored models.
    """
    if place == len(history):
        return Restart(history.final, last + 1)
    if place == 0:
        return Restart(history.initial, 1)
    return Restart(history[place].before, history[place].number)
