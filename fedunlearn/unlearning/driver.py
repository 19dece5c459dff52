"""The driver: train, serve a request, unlearn, recover, train on."""

from collections.abc import Generator, Sequence, Set
from dataclasses import dataclass, replace

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower import GridClients
from fedunlearn.history import History, Needs, Round, Updates
from fedunlearn.models import Vector
from fedunlearn.unlearning.ledger import Moment
from fedunlearn.unlearning.permissions import ORDINARY
from fedunlearn.unlearning.recording_clients import Redoing
from fedunlearn.unlearning.recovery import Recovery
from fedunlearn.unlearning.strategy import Request, UnlearningStrategy


@dataclass(frozen=True)
class Course:
    """Where a run stands; a value, so that several strategies can go on from the same one."""

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


Steps = Generator[Step, None, Course]
"""Yields every model and returns where the run stands then."""


def plan(requests: Sequence[Request], clients: int, rounds: int) -> tuple[Request, ...]:
    """Check a timeline of requests and return it in order of time.

    Raises `Refused` for a client who does not exist, who left before or who leaves twice, for a
    request outside the training rounds, and where nobody would remain.
    """
    ordered = tuple(sorted(requests, key=lambda request: request.after))
    present = frozenset(range(clients))
    for request in ordered:
        if not 1 <= request.after <= rounds:
            raise Refused(
                f"withdrawal.after={request.after} lies outside training: rounds are 1 to "
                f"{rounds} (training.rounds={rounds})."
            )
        unknown = sorted(client for client in request.clients if not 0 <= client < clients)
        if unknown:
            raise Refused(
                f"withdrawal.clients names {unknown}, but the federation has clients 0 to "
                f"{clients - 1} (partition.clients={clients})."
            )
        gone = sorted(request.clients - present)
        if gone:
            raise Refused(f"Clients {gone} cannot leave after round {request.after}: they left.")
        present -= request.clients
        if not present:
            raise Refused(
                f"After round {request.after} nobody would remain. Let fewer clients leave, or "
                "raise partition.clients."
            )
    return ordered


def train(course: Course, clients: GridClients, last: int, needs: Needs) -> Steps:
    """Train with those present up to round ``last``, recording what ``needs`` asks.

    Statistics are sums over the records of everybody present, gathered once, before the first
    round. Raises `Refused` where ``needs`` do not fit the model.
    """
    needs.check(course.history.layout)
    present = replace(clients, ids=course.present)
    clients.ledger.moment = Moment("train", course.request, course.round + 1)
    if needs.statistics and course.history.statistics is None:
        sums = present.statistics(course.history.initial)
        course = replace(course, history=replace(course.history, statistics=sums))
    before = course.history.final
    for updates, weights in present.rounds(before, course.round + 1, last):
        number = course.round + 1
        history = _recorded(course.history, number, before, updates, weights, needs)
        course = replace(course, history=history, round=number)
        yield Step(clients.ledger.moment, weights)
        clients.ledger.moment = Moment("train", course.request, number + 1)
        before = weights
    return course


def forget(
    course: Course,
    asking: Set[ClientId],
    strategy: UnlearningStrategy,
    recovery: Recovery,
    clients: GridClients,
    needs: Needs,
) -> Steps:
    """Serve a request by ``strategy`` and recover; what the leavers sent is purged.

    A request that names nobody changes nothing, whatever the strategy would do.
    """
    request = Request(frozenset(asking), course.round)
    number = course.request + 1
    original = weights = course.history.final
    yield Step(Moment("unlearn", number, 0), original)
    course = replace(course, request=number, present=course.present - request.clients)
    if not request.clients:
        return course

    remaining = replace(clients, ids=course.present, gone=request.clients, declared=strategy.needs)
    shown = course.history.select(strategy.needs, course.round)
    stored = course.history.without(request.clients)
    replaces = strategy.needs.replaces
    redoing = Redoing(remaining, stored, course.round, needs, replaces)
    clients.ledger.moment = Moment("unlearn", number, 1)
    for weights in strategy.unlearn(request, shown, redoing):
        yield Step(clients.ledger.moment, weights)
        clients.ledger.moment = Moment("unlearn", number, clients.ledger.moment.round + 1)

    history = replace(redoing.history, final=weights, forgot=course.round)
    clients.ledger.moment = Moment("recover", number, 1)
    remaining = replace(remaining, gone=frozenset(), declared=ORDINARY, stream=number)
    before = weights
    recovered = recovery.recover(weights, original, course.round, remaining)
    for count, (updates, weights) in enumerate(recovered, start=1):
        after = course.round + count
        history = _recorded(history, after, before, updates, weights, needs)
        yield Step(clients.ledger.moment, weights)
        clients.ledger.moment = Moment("recover", number, count + 1)
        before = weights
    return replace(course, history=history)


def _recorded(
    history: History,
    number: int,
    before: Vector,
    updates: Updates,
    after: Vector,
    needs: Needs,
) -> History:
    records = int(updates.examples.sum())
    return history.then(Round(number, updates, records, before), after, needs)
