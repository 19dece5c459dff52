"""How tables and figures call leavers, and in which unit they show things."""

from collections.abc import Mapping
from types import MappingProxyType

from fedunlearn.results.metric_cards import card_or_plain

DID_NOT_TAKE = "did not take"
"""The word of summary.csv's column ``probe`` for a backdoor that cannot tell anything."""

MINUS_SIGN = "\N{MINUS SIGN}"
"""Before negative numbers that people read."""

NO_NUMBER = "\N{EN DASH}"
"""Stands where there is no number."""

NOBODY_NAMED: Mapping[int, str] = MappingProxyType({})
"""Where clients have numbers alone."""

NAMED = 3
"""So many leavers are listed; more are counted."""


def called(client: int, owners: Mapping[int, str]) -> str:
    """Return a client's number, with its owner's name where it has one: ``3 (Ann)``."""
    return f"{client} ({owners[client]})" if client in owners else str(client)


def who(clients: str, owners: Mapping[int, str] = NOBODY_NAMED) -> str:
    """Spell out the column ``clients`` of a summary: ``0+3`` becomes ``clients 0 and 3``.

    Those whose ``owners`` are known are called by them, too: ``client 3 (Ann)``.
    """
    names = [called(int(client), owners) for client in clients.split("+")] if clients else []
    if len(names) > NAMED:
        return f"{len(names)} clients"
    listed = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return {0: "nobody", 1: f"client {listed}"}.get(len(names), f"clients {listed}")


def leave(leavers: str) -> str:
    """Return the verb that goes with what `who` returned."""
    return "leaves" if leavers.startswith(("client ", "nobody")) else "leave"


def plain_label(metric: str) -> str:
    """Return a metric's label without its unit, for the middle of a sentence."""
    label = card_or_plain(metric).label.partition(" (")[0]
    return label[0].lower() + label[1:]


def counted(number: int, what: str) -> str:
    """Write so many of something: ``1 seed``, ``3 seeds``."""
    return f"{number} {what}{'s' * (number != 1)}"


def percent(metric: str) -> bool:
    """Whether people know this metric in percent, as its card says."""
    return card_or_plain(metric).percent


def unit(metric: str) -> int:
    """Return what a value is multiplied with to be shown: 100 for percent, else 1."""
    return 100 if percent(metric) else 1


def amount(cost: float) -> str:
    """Write a cost with as many digits as matter; only nothing is zero."""
    if 0 < cost < 0.05:
        return "<0.1"
    return f"{cost:,.1f}" if cost % 1 and cost < 100 else f"{cost:,.0f}"
