"""A world of closed forms whose server tests models: by triggers, and on its labelled records."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from fedunlearn.data import Records
from fedunlearn.history import Needs
from fedunlearn.unlearning import Ledger, ProxyData
from tests.support.grid_clients import with_channel
from tests.support.world import D, World

LEAVER = frozenset({1})
TRIGGERS, OWN = 5, 4
"""Records of the server that carry the trigger, and those that it has labelled."""


@dataclass(frozen=True)
class Shift:
    """Moves the model by ``by`` along the second axis; counts for nothing else."""

    by: float
    guarantee: ClassVar = "none"
    needs: ClassVar = Needs(remaining=True)

    def length(self, request):
        return 1

    def unlearn(self, request, history, clients):
        clients.train(history.final, [0], round=1)
        yield history.final + self.by * axis(1)


def axis(place):
    return torch.eye(D)[place]


def sets(original, *, works=0.5, breaks=2.0):
    """The trigger works on models moved by less than ``works``, the others by ``breaks``.

    A model w says of a record x the largest of w - x: 0 for x = original - c axis(0) until w was
    moved by more than c along another axis.
    """

    def records(until, count):
        inputs = (original - until * axis(0)).expand(count, D).reshape(count, 1, 1, D)
        return Records(inputs, torch.zeros(count, dtype=torch.int64))

    return {"labelled": records(breaks, OWN), "triggered": records(works, TRIGGERS)}


@contextmanager
def trained(needs=Needs(updates=True, models=True), **limits):
    """Yield a trained federation, its clients, and how their server tests."""
    world = World()
    with world.open() as clients:
        state = world.trained(clients, needs)

        def asked(found=None, earlier=None):
            ledger = Ledger()
            found = sets(state.history.final, **limits) if found is None else found
            server = ProxyData(
                world.here.network,
                world.proxy_images,
                ledger,
                3,
                verification=lambda number: found,
                earlier=earlier,
            )
            return replace(with_channel(clients, proxy=server), ledger=ledger)

        yield state, asked
