"""What a strategy may ask of clients, whatever kind of clients they are."""

from collections.abc import Collection, Set

from fedunlearn.data import ClientId
from fedunlearn.history import Needs

ORDINARY = Needs(remaining=True)
"""What ordinary rounds declare."""


def chosen(who: Collection[ClientId], ids: Set[ClientId]) -> tuple[ClientId, ...]:
    """Return ``who``, each once and ascending; raise PermissionError unless all are in ``ids``."""
    strangers = sorted(set(who) - ids)
    if strangers:
        raise PermissionError(f"Clients {strangers} may not be asked: they have left.")
    return tuple(sorted(set(who)))


def require_remaining(declared: Needs) -> None:
    """Raise PermissionError unless work of those who remain was declared."""
    if not declared.remaining:
        raise PermissionError(
            "Only a strategy with Needs(remaining=True) may ask the clients who remain."
        )


def require_proxy(declared: Needs) -> None:
    """Raise PermissionError unless proxy data were declared."""
    if not declared.proxy:
        raise PermissionError("Only a strategy with Needs(proxy=True) may use the proxy data.")


def require_leaver(declared: Needs) -> None:
    """Raise PermissionError unless work of the leavers was declared."""
    if not declared.leaver:
        raise PermissionError("Only a strategy with Needs(leaver=True) may ask the leavers.")
