"""How tables and figures call leavers, and in which unit they show things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from fedunlearn.results.metric_cards import card_or_plain

if TYPE_CHECKING:
    import pandas as pd

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


TOLD = 4
"""So many requests are told in a title; more are counted."""


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


EVERYTHING = "everything"
"""The column ``scope`` of a summary where clients leave with all records."""

SEVERAL = "several scopes"
"""Stands for the scope where requests of different ones are told together."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for, in words: who leaves, or which records go of clients who stay."""

    clients: str
    """As in a summary's column ``clients``."""
    scope: str = EVERYTHING
    """As in its column ``scope``."""
    owners: Mapping[int, str] = field(default_factory=dict)
    """What people call clients."""

    @classmethod
    def of(cls, served: pd.DataFrame, owners: Mapping[int, str] = NOBODY_NAMED) -> Self:
        """Return what the first row of a summary is about."""
        row = served.iloc[0]
        return cls(str(row["clients"]), str(row.get("scope", EVERYTHING)), owners)

    @property
    def who(self) -> str:
        """Those who ask: ``client 3``."""
        return who(self.clients, self.owners)

    @property
    def whole(self) -> bool:
        """Whether those who ask leave."""
        return self.scope == EVERYTHING or not self.clients

    @property
    def what(self) -> str:
        """What is to be forgotten: ``client 3``, or ``label 7 of client 3``."""
        kind, _, value = self.scope.partition("=")
        if self.whole:
            return self.who
        if kind == "labels":
            return f"{_labels(value)} of {self.who}"
        if kind == "share":
            return f"{100 * float(value):g} % of the records of {self.who}"
        return (
            f"planted records of {self.who}"
            if kind == "planted"
            else (f"some records of {self.who} ({self.scope})")
        )

    @property
    def leaves(self) -> str:
        """What happens: ``client 3 leaves``, or ``client 3 has label 7 erased``."""
        if self.whole:
            return f"{self.who} {'leaves' if self._one else 'leave'}"
        return f"{self.who} {'has' if self._one else 'have'} {self._erased}"

    @property
    def left(self) -> str:
        """What happened: ``client 3 left``, or ``client 3 had label 7 erased``."""
        return f"{self.who} left" if self.whole else f"{self.who} had {self._erased}"

    @property
    def note(self) -> str:
        """A sentence on what measures then mean; empty where those who ask leave."""
        if self.whole:
            return ""
        stays = "stays with its other records" if self._one else "stay with their other records"
        return (
            f"What was to be forgotten is {self.what}, who {stays}: where a measure says the "
            "leaver's records, it means these, and a retrained model never saw them."
        )

    @property
    def _one(self) -> bool:
        return "+" not in self.clients

    @property
    def _erased(self) -> str:
        kind, _, value = self.scope.partition("=")
        their = "its" if self._one else "their"
        return {
            "labels": lambda: f"{_labels(value)} erased",
            "share": lambda: f"{100 * float(value):g} % of {their} records erased",
            "planted": lambda: f"{their} planted records erased",
        }.get(kind, lambda: f"some of {their} records erased ({self.scope})")()


def _labels(value: str) -> str:
    names = value.split("+")
    return (
        f"label {value}" if len(names) == 1 else (f"labels {', '.join(names[:-1])} and {names[-1]}")
    )


def all_wishes(summary: pd.DataFrame, owners: Mapping[int, str] = NOBODY_NAMED) -> list[Wish]:
    """Return what each request of a summary is about, the first one first."""
    first = summary.drop_duplicates("request")
    return [Wish.of(first.iloc[[place]], owners) for place in range(len(first))]


def then(words: Sequence[str]) -> str:
    """Tell what happened one after the other; of many things the first ones, and how many more."""
    told = ", then ".join(words[:TOLD])
    more = len(words) - TOLD
    return f"{told}, then {counted(more, 'further request')}" if more > 0 else told


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


UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def span(seconds: float) -> str:
    """Write a time in the largest unit of which there is at least one: ``90`` as ``1.5 min``."""
    if isnan(seconds):
        return "unknown"
    unit, size = largest_unit(seconds)
    return f"{amount(seconds / size)} {unit}"


def largest_unit(seconds: float) -> tuple[str, float]:
    """Return the largest unit of which there is at least one, and its seconds."""
    return next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
