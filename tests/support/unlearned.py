"""What a strategy makes of a request in the world of closed forms."""

from dataclasses import replace

from fedunlearn.unlearning import Ledger, Request
from fedunlearn.unlearning import NoRecovery as NoRecovery
from tests.support.world import (
    ReversedByLabel,
    World,
    without_leavers,
)


def curve(strategy, leavers, world=None, trained=None):
    """Return every model that a strategy yields, and the history it was shown."""
    world = world or World()
    with world.open() as clients:
        course = trained or world.trained(clients)
        request = Request(frozenset(leavers), course.round)
        history = course.history.select(strategy.needs, course.round)
        remaining = without_leavers(clients, leavers, strategy.needs)
        return list(strategy.unlearn(request, history, remaining)), history


def asked_of_clients(strategy):
    world = World()
    with world.open() as clients:
        course = world.trained(clients)
        ledger = Ledger()
        asked = replace(without_leavers(clients, [2], strategy.needs), ledger=ledger)
        list(strategy.unlearn(Request(frozenset({2}), 6), course.history, asked))
    return len(ledger.charges)


class Mirrored(World):
    """The clients of World, numbered from the other end."""

    @property
    def scenario(self):
        return replace(super().scenario, partition=ReversedByLabel(len(self.sizes)))
