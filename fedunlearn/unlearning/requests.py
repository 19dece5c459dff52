"""Who asks for what to be forgotten, who joins, and when."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from fedunlearn.checks import Refused
from fedunlearn.data import Change, ClientId, Everything, Scope


@dataclass(frozen=True, slots=True)
class Request:
    """Clients ask for some of their records to be forgotten after a training round."""

    clients: frozenset[ClientId]
    after: int
    scope: Scope = field(default_factory=Everything)
    """Which of their records; those whose records all go leave, the others stay with the rest."""
    arrived: tuple[tuple[ClientId, float], ...] = ()
    """When each asked, in training rounds: those who are not in it when they are served."""

    def asked(self, client: ClientId) -> float:
        """Return when one of its clients asked: 2.5 is half-way through round 3."""
        return dict(self.arrived).get(client, float(self.after))


@dataclass(frozen=True, slots=True)
class Join:
    """Clients join after a training round, for the first time or again, under one identity.

    They take part from the next round on; requests after the same round are served before.
    """

    clients: frozenset[ClientId]
    after: int
    """From 0: before the first round."""
    scope: Scope = field(default_factory=Everything)
    """Which of their records they bring."""
    others: bool = False
    """Whether only of those that they never held before."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Clients take back their next request: the first that is served after a later round."""

    clients: frozenset[ClientId]
    after: int
    """From 0: before the first round."""


def without_cancelled(
    requests: Sequence[Request], cancels: Sequence[Cancel]
) -> tuple[Request, ...]:
    """Return the requests without what was taken back, in the same order.

    Others who ask within the same request are served. Raises `Refused` for a client who takes back
    what it did not ask for, or what was served before.
    """
    left = list(requests)
    for cancel in cancels:
        for client in sorted(cancel.clients):
            later = [
                place
                for place, each in enumerate(left)
                if client in each.clients and each.after > cancel.after
            ]
            if not later:
                raise Refused(
                    f"Client {client} takes back a request after round {cancel.after}, but has "
                    "none that is served after a later round (withdrawal.timeline)."
                )
            place = min(later, key=lambda place: left[place].after)
            left[place] = _without(left[place], client)
    return tuple(each for each, before in zip(left, requests, strict=True) if _stands(each, before))


def _without(request: Request, client: ClientId) -> Request:
    arrived = tuple((who, when) for who, when in request.arrived if who != client)
    return replace(request, clients=request.clients - {client}, arrived=arrived)


def _stands(request: Request, before: Request) -> bool:
    """Whether a request is still one: not where all of its clients took it back."""
    return bool(request.clients) or not before.clients


def plan(
    requests: Sequence[Request], clients: int, rounds: int, joins: Sequence[Join] = ()
) -> tuple[Request, ...]:
    """Check a timeline and return its requests in order of time.

    Raises `Refused` for a client who does not exist, who asks for everything while it is not
    there, or joins while it is; for a request or a join outside the training rounds, and where
    nobody would remain.
    """
    for request in requests:
        if not 1 <= request.after <= rounds:
            raise Refused(
                f"withdrawal.after={request.after} lies outside training: rounds are 1 to "
                f"{rounds} (training.rounds={rounds})."
            )
    for join in joins:
        if not 0 <= join.after < rounds:
            raise Refused(
                f"Clients cannot join after round {join.after}: a round must follow, and the last "
                f"is {rounds} (training.rounds={rounds})."
            )
    both: list[Request | Join] = [*requests, *joins]
    for change in both:
        unknown = sorted(client for client in change.clients if not 0 <= client < clients)
        if unknown:
            raise Refused(
                f"withdrawal.clients names {unknown}, but the federation has clients 0 to "
                f"{clients - 1} (partition.clients={clients})."
            )
    _require_members(requests, clients, joins)
    return tuple(sorted(requests, key=lambda request: request.after))


def changes(requests: Sequence[Request], joins: Sequence[Join] = ()) -> tuple[Change, ...]:
    """Return what requests and joins do to who holds what, in order of time."""
    both: list[Request | Join] = [*requests, *joins]
    ordered = sorted(both, key=lambda each: (each.after, isinstance(each, Join)))
    return tuple(
        Change(each.after, tuple(sorted(each.clients)), _kind(each), each.scope) for each in ordered
    )


def _kind(each: Request | Join) -> Literal["erase", "join", "join with others"]:
    if isinstance(each, Request):
        return "erase"
    return "join with others" if each.others else "join"


def absences(
    requests: Sequence[Request], joins: Sequence[Join] = ()
) -> list[tuple[Change, frozenset[ClientId]]]:
    """Return each erasure in order of time, and who is not there when it is asked for.

    As far as whole clients tell: what scopes leave of a client, only its records know.
    """
    ordered = changes(requests, joins)
    first = {client: change.kind for change in reversed(ordered) for client in change.clients}
    absent = frozenset(client for client, kind in first.items() if kind != "erase")
    erasures = []
    for change in ordered:
        if change.kind != "erase":
            absent -= set(change.clients)
            continue
        erasures.append((change, absent))
        if change.scope == Everything():
            absent |= set(change.clients)
    return erasures


def _require_members(requests: Sequence[Request], clients: int, joins: Sequence[Join]) -> None:
    """Raise `Refused` for whoever is not there, and where nobody would remain."""
    joining = {client for join in joins for client in join.clients}
    for change, absent in absences(requests, joins):
        gone = sorted(set(change.clients) & absent)
        if gone:
            raise Refused(
                f"Clients {gone} cannot ask after round {change.after}: they are not there."
                if joining.intersection(gone)
                else f"Clients {gone} cannot leave after round {change.after}: they left."
            )
        leaving = set(change.clients) if change.scope == Everything() else set[int]()
        if len(absent | leaving) == clients:
            raise Refused(
                f"After round {change.after} nobody would remain. Let fewer clients leave, or "
                "raise partition.clients."
            )
