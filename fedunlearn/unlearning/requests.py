"""Who asks to be forgotten, and when."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId


@dataclass(frozen=True, slots=True)
class Request:
    """Clients ask to be forgotten after a training round."""

    clients: frozenset[ClientId]
    after: int


def plan(requests: Sequence[Request], clients: int, rounds: int) -> tuple[Request, ...]:
    """Check a timeline of requests and return it in order of time.

    Raises `Refused` for a client who does not exist, who left before or who leaves twice, for a
    request outside the training rounds, and where nobody would remain.
    """
    ordered = tuple(sorted(requests, key=lambda request: request.after))
    left: frozenset[int] = frozenset()
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
        gone = sorted(request.clients & left)
        if gone:
            raise Refused(f"Clients {gone} cannot leave after round {request.after}: they left.")
        left |= request.clients
        if len(left) == clients:
            raise Refused(
                f"After round {request.after} nobody would remain. Let fewer clients leave, or "
                "raise partition.clients."
            )
    return ordered
