"""When requests come in while a federation trains, and who asks: at random, in bursts, from a file.

Time is counted in training rounds: 2.5 is half-way through round 3, and 3 is its end.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any, Protocol

from fedunlearn import checks, files, randomness
from fedunlearn.checks import Count, CountFromZero, Positive, Refused
from fedunlearn.data import ClientId, RandomShare, Scope, WithLabels
from fedunlearn.randomness import Stream

COLUMNS = ("round", "client", "share", "labels")
"""Of a trace; the last two may be left out."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One client asks."""

    client: ClientId
    at: float
    """In training rounds, above 0."""
    scope: Scope | None = None
    """Which of its records; None: what the withdrawal says for all."""

    @property
    def round(self) -> int:
        """The training round in which it asks: the first after which it can be served."""
        return max(1, math.ceil(self.at))


class Arrivals(Protocol):
    """Says who asks when: a frozen dataclass."""

    def drawn(self, clients: int, rounds: int, names: Sequence[str] = ()) -> Sequence[Arrival]:
        """Return who of so many ``clients`` asks within so many ``rounds``, the earliest first.

        ``names`` are those of the clients' owners, where they have any. Nobody asks twice.
        """


@dataclass(frozen=True, slots=True)
class Poisson:
    """Requests come independently of each other: the times between them are exponential."""

    rate: Positive = 1.0
    """Requests a round, on average."""
    most: Count | None = None
    """Requests after which no more come; null: there is no such number."""
    seed: CountFromZero = 0
    """Of who asks when, the same under all seeds of a run."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def drawn(self, clients: int, rounds: int, names: Sequence[str] = ()) -> Sequence[Arrival]:
        """See `Arrivals.drawn`; once everybody has asked, nobody does."""
        rng = randomness.rng(self.seed, Stream.ARRIVALS, 0)
        times, at = list[float](), rng.exponential(1 / self.rate)
        while at <= rounds and len(times) < min(clients, self.most or clients):
            times.append(at)
            at += rng.exponential(1 / self.rate)
        return _asked(times, clients, self.seed)


@dataclass(frozen=True, slots=True)
class Bursts:
    """Several clients ask at once, at the end of every so many rounds."""

    every: Count = 5
    """Rounds from one burst to the next; the first comes after as many."""
    size: Count = 2
    """Clients who ask in each."""
    most: Count | None = None
    """Requests after which no more come; null: there is no such number."""
    seed: CountFromZero = 0
    """Of who asks, the same under all seeds of a run."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def drawn(self, clients: int, rounds: int, names: Sequence[str] = ()) -> Sequence[Arrival]:
        """See `Arrivals.drawn`; once everybody has asked, nobody does."""
        bursts = takewhile(lambda at: at <= rounds, count(self.every, self.every))
        times = [float(at) for at in bursts for _ in range(min(self.size, clients))]
        return _asked(times[: min(clients, self.most or clients)], clients, self.seed)


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests as a CSV file lists them: a row each, with columns ``round`` and ``client``.

    ``round`` may be a fraction. A row may name its own scope under ``share`` or ``labels`` (``7``,
    or ``3+7`` for several); the others have that of the withdrawal.
    """

    path: str | None = None
    """The file, whose first row names the columns; must be set."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def drawn(self, clients: int, rounds: int, names: Sequence[str] = ()) -> Sequence[Arrival]:
        """See `Arrivals.drawn`; raises `Refused`, naming the line, for what cannot be."""
        asked: dict[ClientId, int] = {}
        arrivals = []
        for line, row in _rows(self.path):
            one = _arrival(row, f"{self.path}, line {line}:", clients, rounds, names)
            if one.client in asked:
                raise Refused(
                    f"{self.path}, line {line}: client {row['client']} asked in line "
                    f"{asked[one.client]} already, and a client asks once in a stream. Leave one "
                    "of the two out, or put it into withdrawal.timeline."
                )
            asked[one.client] = line
            arrivals.append(one)
        return sorted(arrivals, key=lambda one: one.at)


def _asked(times: Sequence[float], clients: int, seed: int) -> list[Arrival]:
    """Draw who asks at each time, without replacement."""
    who = randomness.rng(seed, Stream.ARRIVALS, 1).permutation(clients)
    return [Arrival(int(client), at) for client, at in zip(who, times, strict=False)]


def _rows(path: str | None) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows of a trace by column, and in which line each ends."""
    if path is None:
        raise Refused(
            "withdrawal.stream.arrivals.path must be set: it names the CSV file of a trace."
        )
    try:
        with Path(path).expanduser().open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            known = set(header) <= set(COLUMNS) and len(set(header)) == len(header)
            if not known or not set(COLUMNS[:2]) <= set(header):
                raise Refused(
                    f"{path}, line 1: a trace has the columns round and client, and may have "
                    f"share and labels, not {checks.shown(', '.join(header))}."
                )
            for cells in reader:
                if cells and len(cells) != len(header):
                    raise Refused(
                        f"{path}, line {reader.line_num}: there are {len(cells)} cells, but "
                        f"{len(header)} columns."
                    )
                if cells:
                    stripped = (cell.strip() for cell in cells)
                    yield reader.line_num, dict(zip(header, stripped, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(
            f"withdrawal.stream.arrivals.path={path} cannot be read as a CSV file: "
            f"{files.reason(error)}."
        ) from error


def _arrival(
    row: Mapping[str, str], where: str, clients: int, rounds: int, names: Sequence[str]
) -> Arrival:
    """Read one row of a trace, at ``where``."""
    at = _number(row["round"], where, "round")
    if not 0 < at <= rounds:
        raise Refused(
            f"{where} round {row['round']} lies outside training: rounds are 1 to {rounds} "
            f"(training.rounds={rounds})."
        )
    if names:
        if row["client"] not in names:
            raise Refused(
                f"{where} client {checks.shown(row['client'])} is nobody"
                f"{checks.nearest(row['client'], names)}"
            )
        return Arrival(names.index(row["client"]), at, _scope(row, where))
    client = row["client"]
    if not client.isdecimal() or int(client) >= clients:
        raise Refused(
            f"{where} client {checks.shown(client)} is nobody: the federation has clients 0 to "
            f"{clients - 1} (partition.clients={clients})."
        )
    return Arrival(int(client), at, _scope(row, where))


def _scope(row: Mapping[str, str], where: str) -> Scope | None:
    share, labels = row.get("share"), row.get("labels")
    if share and labels:
        raise Refused(f"{where} a request is about a share or about labels, not about both.")
    try:
        if share:
            return RandomShare(_number(share, where, "share"))
        if labels:
            wanted = [_label(label.strip(), where) for label in labels.split("+")]
            return WithLabels(tuple(wanted))
    except Refused as refusal:
        told = str(refusal)
        raise (refusal if told.startswith(where) else Refused(f"{where} {told}")) from None
    return None


def _label(cell: str, where: str) -> int:
    if not cell.isdecimal():
        raise Refused(
            f"{where} labels must be classes counted from 0, as 7 or 3+7, not {checks.shown(cell)}."
        )
    return int(cell)


def _number(cell: str, where: str, name: str) -> float:
    try:
        value: Any = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Refused(f"{where} {name} must be a number, not {checks.shown(cell)}.")
    return float(value)
