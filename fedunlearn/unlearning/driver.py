"""The driver: train, serve a request, unlearn, recover, train on."""

from collections.abc import Generator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from torch import Tensor

from fedunlearn.data import FROM_THE_START, ClientId, Everything, Scope
from fedunlearn.history import History, Needs, Round
from fedunlearn.local import RidgeSums
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
    """Who holds records, now or from a round to come."""
    round: int = 0
    """Training rounds done."""
    request: int = 0
    """Requests served."""
    since: Mapping[ClientId, int] = field(default_factory=dict)
    """The first training round of those `present` who were not there from the start."""

    def access(self) -> Access:
        """Return access to those present, in each round to those who take part in it."""
        return Access(self.present, since=self.since, served=self.request)

    def access_now(self) -> Access:
        """Return access to those who take part by now, with what they hold now."""
        every = self.access()
        return replace(every, ids=every.present(self.round), until=self.round)

    def without(self, clients: Set[ClientId]) -> dict[ClientId, int]:
        """Return all `present` but some, each with its first training round."""
        return {c: self.since.get(c, FROM_THE_START) for c in self.present - clients}

    def with_members(self, members: Mapping[ClientId, int]) -> "FederationState":
        """Let ``members`` take part, each from a round on."""
        late = {c: first for c, first in members.items() if first > FROM_THE_START}
        return replace(self, present=frozenset(members), since=late)


@dataclass(frozen=True)
class Step:
    """One model of a run, and when it came about."""

    moment: Moment
    weights: Vector


EVERYTHING = Everything()
"""The scope of who leaves."""

Steps = Generator[Step, None, FederationState]
"""Yields every model and returns where the federation stands then."""


def train(state: FederationState, clients: DrivenClients, last: int, needs: Needs) -> Steps:
    """Train with those present up to round ``last``, recording what ``needs`` asks.

    Statistics are sums over the records of everybody present, gathered once, before the first
    round. Raises `Refused` where ``needs`` do not fit the model.
    """
    needs.check(state.history.layout)
    present = clients.scoped(state.access())
    clients.ledger.moment = Moment("train", state.request, state.round + 1)
    if needs.statistics and state.history.statistics is None:
        sums = _ridge_sums(present, state.history.initial)
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
    scope: Scope = EVERYTHING,
    members: Mapping[ClientId, int] | None = None,
) -> Steps:
    """Serve a request by ``strategy`` and recover; what those ``asking`` sent is purged.

    ``members`` are those who take part once it is served, each from a round on; None: all who did
    but those asking. Of an asking member's records only ``scope`` goes, but all that it sent: it
    was made from them. Statistics of such members are asked for anew.

    A request that names nobody changes nothing, whatever the strategy would do.
    """
    request = Request(frozenset(asking), state.round, scope)
    number = state.request + 1
    original = weights = state.history.final
    yield Step(Moment("unlearn", number, 0), original)
    state = replace(state, request=number)
    if not request.clients:
        return state
    state = state.with_members(state.without(request.clients) if members is None else members)
    remaining = state.access_now()
    clients.ledger.moment = Moment("unlearn", number, 1)
    shown = state.history.select(strategy.needs, state.round)
    history = state.history.without(request.clients)
    sums = _sums_anew(shown, clients.scoped(replace(remaining, ids=remaining.ids & asking)))
    shown, history = shown.with_sums(sums), history.with_sums(sums)

    def redo(done: Round, after: Vector) -> None:
        nonlocal history
        if done.number <= request.after:  # later rounds are none that were done before
            history = history.redone(done, after, needs)

    notes = dict(history.notes)
    record = redo if strategy.needs.replaces else None
    access = replace(remaining, declared=strategy.needs, gone=request.clients, record=record)
    serving = clients.scoped(replace(access, note=notes.__setitem__))
    for weights in strategy.unlearn(request, shown, serving):
        yield Step(clients.ledger.moment, weights)
        clients.ledger.moment = Moment("unlearn", number, clients.ledger.moment.round + 1)

    recovering = clients.scoped(replace(remaining, stream=number))
    history = replace(history, final=weights, forgot=state.round, notes=notes)
    state = replace(state, history=history)
    return (yield from _recovered(state, original, recovery, recovering, needs))


def _sums_anew(history: History, clients: DrivenClients) -> Mapping[ClientId, Tensor]:
    """Ask who keeps a part of its records for its statistics, where a strategy is shown any."""
    anew = history.statistics is not None and clients.ids
    return _ridge_sums(clients, history.initial) if anew else {}


def _ridge_sums(clients: DrivenClients, initial: Vector) -> Mapping[ClientId, Tensor]:
    """Ask all who are there from the start for the sums that fix the last layer on ``initial``."""
    answers = clients.query(initial, RidgeSums(), round=FROM_THE_START)
    return {client: sums["sums"] for client, sums in answers.items()}


def _recovered(
    state: FederationState,
    original: Vector,
    recovery: Recovery,
    clients: DrivenClients,
    needs: Needs,
) -> Steps:
    """Run the rounds of ``recovery`` from an unlearned model; ``original`` [d] was before it."""
    history, number = state.history, state.request
    before = history.final
    clients.ledger.moment = Moment("recover", number, 1)
    recovered = recovery.recover(before, original, state.round, clients)
    for count, (updates, weights) in enumerate(recovered, start=1):
        done = Round.of(state.round + count, before, updates)
        history = history.then(done, weights, needs)
        yield Step(clients.ledger.moment, weights)
        clients.ledger.moment = Moment("recover", number, count + 1)
        before = weights
    return replace(state, history=history)
