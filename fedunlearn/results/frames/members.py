"""Who took part in which rounds, where clients join, return or have a part of their records erased.

What a run's files tell: requests by its tables, joins by the timeline of its configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedunlearn.results import EVERYTHING, Run, listed_owners
from fedunlearn.results.frames.served import request_times

ALL = "all"
"""Stands for every client in a timeline."""

KINDS = {"join": "joins", "part": "has some records erased", "leave": "leaves"}
"""What can happen to a client, and how it is told."""


@dataclass(frozen=True)
class Membership:
    """Who was there when."""

    rounds: int
    clients: list[int]
    """Those shown, ascending."""
    spans: pd.DataFrame
    """Columns ``client, first, last``: the client took part in these rounds."""
    events: pd.DataFrame
    """Columns ``client, after, kind``: what happened after which round; kinds are `KINDS`."""


def membership(run: Run, most: int) -> Membership | None:
    """Return who took part when; None where clients are there from the start and leave whole.

    With more than ``most`` clients only those are shown to whom something happened.
    """
    config = run.manifest.get("config")
    if not isinstance(config, Mapping) or run.summary.empty or not len(run.clients):
        return None
    clients = sorted(set(map(int, run.clients["client"])))
    events = [*_asked(run), *_joined(config, listed_owners(run.manifest), clients)]
    if all(kind == "leave" for _, _, kind in events):
        return None
    events.sort(key=lambda event: (event[0], event[2] == "join"))
    rounds = int(run.metrics.loc[run.metrics["phase"] == "train", "round"].max())
    moved = {client for _, client, _ in events}
    shown = [client for client in clients if len(clients) <= most or client in moved]
    spans = [(client, *span) for client in shown for span in _spans(client, events, rounds)]
    table = pd.DataFrame(events, columns=["after", "client", "kind"])
    return Membership(
        rounds,
        shown,
        pd.DataFrame(spans, columns=["client", "first", "last"]),
        table[["client", "after", "kind"]],
    )


def _asked(run: Run) -> Iterator[tuple[int, int, str]]:
    for row in request_times(run.summary, run.metrics).to_dict("records"):
        kind = "leave" if row["scope"] == EVERYTHING else "part"
        for client in filter(None, str(row["clients"]).split("+")):
            yield int(row["after"]), int(client), kind


def _joined(
    config: Mapping[str, Any], owners: Mapping[int, str], clients: list[int]
) -> Iterator[tuple[int, int, str]]:
    numbers: dict[Any, int] = {name: client for client, name in owners.items()}
    for entry in (config.get("withdrawal") or {}).get("timeline") or []:
        joining = entry.get("join", [])
        listed = clients if joining == ALL else joining if isinstance(joining, list) else [joining]
        for client in listed:
            name = f"{client:g}" if isinstance(client, float) else client
            yield int(entry["after"]), int(numbers.get(name, client)), "join"


def _spans(
    client: int, events: list[tuple[int, int, str]], rounds: int
) -> Iterator[tuple[int, int]]:
    """Yield the first and the last round of each time that a client was there."""
    mine = [(after, kind) for after, who, kind in events if who == client and kind != "part"]
    first = None if mine and mine[0][1] == "join" else 1
    for after, kind in mine:
        if kind == "join" and first is None:
            first = after + 1
        elif kind == "leave" and first is not None:
            yield first, after
            first = None
    if first is not None and first <= rounds:
        yield first, rounds
