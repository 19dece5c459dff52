"""Numbers of clients are only names, also where requests are about some of their records.

In the world of closed forms a round moves the model towards the mean C of all records that anybody
holds, w <- C + (1 - r)^E (w - C): who holds them, and under which number, is no matter.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from fedunlearn.data import (
    Everything,
    FlippedGroup,
    Held,
    NoPlanting,
    PlantedRecords,
    RandomShare,
    WithLabels,
    division,
)
from fedunlearn.history import Needs
from fedunlearn.unlearning import NoRecovery, Plain, Request, changes, forget, plan, train
from strategies.exact_rollback import ExactRollback
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.retrain import Retrain
from tests.support.world import RATE, Targets, World, finish

CLIENTS = 3


@dataclass(frozen=True)
class Paired:
    """The client at place p of ``order`` holds the records of labels 2 p and 2 p + 1."""

    order: tuple[int, ...]
    clients: int = CLIENTS
    minimum: int = 1

    def __call__(self, labels, rng):
        return tuple(np.flatnonzero(labels // 2 == owner) for owner in self.order)


@dataclass(frozen=True)
class Scoped(World):
    """Three clients with two kinds of records each, or, ``alike``, one kind; and a request."""

    sizes: tuple[int, ...] = (0,) * CLIENTS
    asking: tuple[int, ...] = (1,)
    """By the place of a client in the world, whatever its number."""
    scope: object = field(default_factory=Everything)
    planting: object = field(default_factory=NoPlanting)
    order: tuple[int, ...] = (0, 1, 2)
    """Whose records the client of each number holds."""
    alike: bool = False

    @property
    def request(self):
        who = frozenset(self.order.index(place) for place in self.asking)
        return Request(who, self.training.rounds, self.scope)

    @property
    def scenario(self):
        kinds = (16, 0, 28, 0, 34, 0) if self.alike else (10, 6, 20, 8, 30, 4)
        (asked,) = plan((self.request,), CLIENTS, self.training.rounds, ())
        return replace(
            super().scenario,
            dataset=Targets(kinds),
            partition=Paired(self.order),
            planting=self.planting,
            leavers=tuple(sorted(asked.clients)),
            changes=changes((asked,), ()),
        )

    def served(self, strategy, recovery=NoRecovery()):
        """Train, serve the request, and return the last model."""
        needs = Needs.union([strategy.needs, Needs(updates=True, models=True)])
        with self.open() as clients:
            state = finish(train(self.start, clients, self.training.rounds, needs))
            holdings, asked = self.here.holdings, self.request
            steps = forget(
                *(state, holdings.asking(1), strategy, recovery, clients, needs),
                *(asked.scope, holdings.since(1)),
            )
            return finish(steps).history.final

    def retrained(self):
        """The closed form of training without what was erased."""
        now = Held(self.training.rounds, 1)
        shards = self.here.holdings.shards(self.here.train, now)
        present = self.here.holdings.present(self.training.rounds, 1)
        held = torch.cat([shards[client].inputs.flatten(1) for client in sorted(present)])
        centre = held.double().mean(dim=0)
        shrink = (1 - RATE) ** (self.training.work.epochs * self.training.rounds)
        first = self.start.history.initial.double()
        return (centre + shrink * (first - centre)).float()


@pytest.fixture(autouse=True)
def last_record_held_out(monkeypatch):
    """Which record is held out is drawn by a client's number: here it is the last of each."""
    monkeypatch.setattr(division, "holdout", lambda part, share, rng: (part[:-1], part[-1:]))


FLIPPED = FlippedGroup(group=3, target=2)

CASES = {
    "leaving": Scoped(seed=101),
    "share": Scoped(seed=102, scope=RandomShare(0.5), alike=True),
    "two shares": Scoped(seed=103, scope=RandomShare(0.25), asking=(0, 1), alike=True),
    "labels": Scoped(seed=104, scope=WithLabels((3,))),
    "labels of all": Scoped(seed=105, scope=WithLabels((0, 3)), asking=(0, 1, 2)),
    "labels that are all of one": Scoped(seed=106, scope=WithLabels((2, 3, 5)), asking=(1, 2)),
    "planted": Scoped(seed=107, scope=PlantedRecords(), planting=FLIPPED),
}
ORDERS = [(2, 1, 0), (1, 2, 0), (0, 2, 1)]


@pytest.mark.parametrize("name", CASES)
def test_retraining_is_its_closed_form_under_any_numbers(name):
    world = CASES[name]
    models = [replace(world, order=order).served(Retrain()) for order in (world.order, *ORDERS)]
    forms = [replace(world, order=order).retrained() for order in (world.order, *ORDERS)]
    for model, form in zip(models, forms, strict=True):
        torch.testing.assert_close(form, forms[0])
        torch.testing.assert_close(model, form)
    whole = replace(world, scope=RandomShare(0.0)).retrained()
    assert not torch.allclose(whole, forms[0], atol=1e-4)


STRATEGIES = [FineTune(2), FedEraser(), FedAccum(), ExactRollback()]

SERVED = [
    pytest.param(name, strategy, id=f"{name}, {type(strategy).__name__}")
    for name in CASES
    for strategy in STRATEGIES
    # where everybody asks, nobody's updates are left to replay
    if name != "labels of all" or strategy.needs.replaces or not strategy.needs.updates
]


@pytest.mark.parametrize(("name", "strategy"), SERVED)
def test_no_strategy_knows_numbers(name, strategy):
    world = CASES[name]
    first, other = (
        replace(world, order=order).served(strategy, Plain(1)) for order in (world.order, (2, 0, 1))
    )
    torch.testing.assert_close(other, first)
