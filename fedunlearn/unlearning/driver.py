"""The driver: train, serve a request, unlearn, recover, train on."""

from collections.abc import Generator, Set
from dataclasses import dataclass, replace
from typing import Protocol, Self

from fedunlearn.data import ClientId
from fedunlearn.history import History, Needs, Round
from fedunlearn.models import Vector
from fedunlearn.unlearning.ledger import Ledger, Moment
from fedunlearn.unlearning.permissions import Access
from fedunlearn.unlearning.recovery import Recovery
from fedunlearn.unlearning.requests import Request
from fedunlearn.unlearning.strategy import Clients, UnlearningStrategy


class DrivenClients(Clients, Protocol):
    """Clients as the driver handles them: it says who may be asked, and when."""

    @property
    def ledger(self) -> Ledger:
        """Where every call is charged, at the moment that the driver sets."""

    def scoped(self, access: Access) -> Self:
        """Return the same clients, asked as far as ``access`` goes."""


@dataclass(frozen=True)
class FederationState:
    """Where a federation stands: a value, so several strategies can go on from the same one."""

    history: History
    present: frozenset[ClientId]
    round: int = 0
    """Training rounds done."""
    request: int = 0
    """Requests served."""


@dataclass(frozen=True)
class Step:
    """One model of a run, and when it came about."""

    moment: Moment
    weights: Vector


Steps = Generator[Step, None, FederationState]
"""Yields every model and returns where the federation stands then."""


def train(state: FederationState, clients: DrivenClients, last: int, needs: Needs) -> Steps:
    """Train with those present up to round ``last``, recording what ``needs`` asks.

    Statistics are sums over the records of everybody present, gathered once, before the first
    round. Raises `Refused` where ``needs`` do not fit the model.
    """
    needs.check(state.history.layout)
    present = clients.scoped(Access(state.present))
    clients.ledger.moment = Moment("train", state.request, state.round + 1)
    if needs.statistics and state.history.statistics is None:
        sums = present.statistics(state.history.initial)
        state = replace(state, history=replace(state.history, statistics=sums))
    before = state.history.final
    for updates, weights in present.rounds(before, state.round + 1, last):
        number = state.round + 1
        done = Round.of(number, before, updates)
        history = state.history.then(done, weights, needs)
        state = replace(state, history=history, round=number)
        yield Step(clients.ledger.moment, weights)
        clients.ledger.moment = Moment("train", state.request, number + 1)
        before = weights
    return state


def forget(
    state: FederationState,
    asking: Set[ClientId],
    strategy: UnlearningStrategy,
    recovery: Recovery,
    clients: DrivenClients,
    needs: Needs,
) -> Steps:
    """Serve a request by ``strategy`` and recover; what the leavers sent is purged.

    A request that names nobody changes nothing, whatever the strategy would do.
    """
    request = Request(frozenset(asking), state.round)
    number = state.request + 1
    original = weights = state.history.final
    yield Step(Moment("unlearn", number, 0), original)
    state = replace(state, request=number, present=state.present - request.clients)
    if not request.clients:
        return state

    shown = state.history.select(strategy.needs, state.round)
    history = state.history.without(request.clients)

    def redo(done: Round, after: Vector) -> None:
        nonlocal history
        if done.number <= request.after:  # later rounds are none that were done before
            history = history.redone(done, after, needs)

    record = redo if strategy.needs.replaces else None
    access = Access(state.present, strategy.needs, request.clients, record=record)
    clients.ledger.moment = Moment("unlearn", number, 1)
    for weights in strategy.unlearn(request, shown, clients.scoped(access)):
        yield Step(clients.ledger.moment, weights)
        clients.ledger.moment = Moment("unlearn", number, clients.ledger.moment.round + 1)

    history = replace(history, final=weights, forgot=state.round)
    clients.ledger.moment = Moment("recover", number, 1)
    remaining = clients.scoped(Access(state.present, stream=number))
    before = weights
    recovered = recovery.recover(weights, original, state.round, remaining)
    for count, (updates, weights) in enumerate(recovered, start=1):
        done = Round.of(state.round + count, before, updates)
        history = history.then(done, weights, needs)
        yield Step(clients.ledger.moment, weights)
        clients.ledger.moment = Moment("recover", number, count + 1)
        before = weights
    return replace(state, history=history)
