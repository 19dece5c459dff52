"""When a server serves the requests that have come in, and which of them together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

from fedunlearn import checks
from fedunlearn.checks import Count, Ratio, Refused
from fedunlearn.data import Scope
from fedunlearn.unlearning.arrivals import Arrival
from fedunlearn.unlearning.requests import Request


class Batch(NamedTuple):
    """Requests that are served together."""

    after: int
    """The training round after which they are."""
    size: int
    """How many: those who have waited longest."""


class Batching(Protocol):
    """Decides when those who wait are served: a frozen dataclass."""

    def batches(self, times: Sequence[float], rounds: int) -> Sequence[Batch]:
        """Divide requests into batches, in the order in which they come.

        ``times`` are those at which they come, in training rounds of which there are ``rounds``,
        ascending. All are served, none before the end of the round in which it comes, and whoever
        still waits at the end of training then.
        """


@dataclass(frozen=True, slots=True)
class Immediate:
    """At the end of the round in which they come."""

    def batches(self, times: Sequence[float], rounds: int) -> Sequence[Batch]:
        """See `Batching.batches`: t is served after round ceil(t)."""
        return _together(map(_end_of_round, times))


@dataclass(frozen=True, slots=True)
class EveryRounds:
    """At the end of every so many rounds."""

    rounds: Count = 5
    """From one such point to the next; 1 is `Immediate`."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def batches(self, times: Sequence[float], rounds: int) -> Sequence[Batch]:
        """See `Batching.batches`: t is served after round n ceil(t / n)."""
        n = self.rounds
        ends = (_end_of_round(at) for at in times)
        return _together(min(rounds, n * -(-end // n)) for end in ends)


@dataclass(frozen=True, slots=True)
class InBatches:
    """As soon as so many wait, whose number is then that."""

    size: Count = 5
    """Requests in a batch; what is left at the end of training is a smaller one."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def batches(self, times: Sequence[float], rounds: int) -> Sequence[Batch]:
        """See `Batching.batches`: a batch is served when its last request has come."""
        whole = [_end_of_round(at) for at in times[self.size - 1 :: self.size]]
        left = len(times) - self.size * len(whole)
        return [Batch(end, self.size) for end in whole] + [Batch(rounds, left)] * bool(left)


@dataclass(frozen=True, slots=True)
class ByDeadline:
    """As late as nobody waits longer than so many rounds; whoever has come by then is served too.

    Where an earlier batch is still at work (``busy``), it can be later.
    """

    rounds: Ratio = 5
    """From a request to its being served, at most."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def batches(self, times: Sequence[float], rounds: int) -> Sequence[Batch]:
        """See `Batching.batches`: the oldest request t is served after round floor(t + d)."""
        made = list[Batch]()
        served = 0
        while served < len(times):
            after = min(rounds, math.floor(times[served] + self.rounds))
            there = sum(at <= after for at in times)
            made.append(Batch(after, there - served))
            served = there
        return made


def batched(
    arrivals: Sequence[Arrival],
    batching: Batching,
    scope: Scope,
    rounds: int,
    busy: int = 0,
) -> tuple[Request, ...]:
    """Return the requests that a stream of arrivals comes to, the earliest first.

    A batch is one request, or one for each of its scopes; ``scope`` is that of arrivals without
    one. For ``busy`` rounds after a batch was begun nothing else begins: who would be served
    meanwhile is served when they are over, together. With 0 every batch is served when it is due,
    one after the other. Raises `Refused` for batches that cannot be.
    """
    arrivals = sorted(arrivals, key=lambda one: one.at)
    batches = list(batching.batches([one.at for one in arrivals], rounds))
    _require_all(batches, [one.at for one in arrivals], batching, rounds)
    requests = list[Request]()
    served = 0
    for batch in _put_off(batches, busy, rounds) if busy else batches:
        asking = arrivals[served : served + batch.size]
        served += batch.size
        by_scope = dict[Scope, list[Arrival]]()
        for one in asking:
            by_scope.setdefault(one.scope or scope, []).append(one)
        requests += (
            Request(
                frozenset(one.client for one in those),
                batch.after,
                chosen,
                tuple(sorted((one.client, one.at) for one in those)),
            )
            for chosen, those in by_scope.items()
        )
    return tuple(requests)


def _put_off(batches: Sequence[Batch], busy: int, rounds: int) -> list[Batch]:
    """Begin no batch while another is at work; those that are due by then are one."""
    begun = list[Batch]()
    for after, size in batches:
        if not begun:
            begun.append(Batch(after, size))
        elif after <= begun[-1].after:
            begun[-1] = Batch(begun[-1].after, begun[-1].size + size)
        else:
            begun.append(Batch(min(rounds, max(after, begun[-1].after + busy)), size))
    return begun


def _require_all(
    batches: Sequence[Batch], times: Sequence[float], batching: Batching, rounds: int
) -> None:
    """Raise `Refused` unless every request is served, after it came, within training."""
    afters, name = [batch.after for batch in batches], type(batching).__name__
    if sum(batch.size for batch in batches) != len(times) or any(b.size < 1 for b in batches):
        raise Refused(
            f"withdrawal.stream.policy: {name} serves {sum(b.size for b in batches)} requests of "
            f"{len(times)}. Its batches must hold each request once, in order."
        )
    if afters != sorted(afters) or afters[-1:] > [rounds]:
        raise Refused(
            f"withdrawal.stream.policy: {name} serves after rounds {checks.shown(afters)}, which "
            f"must ascend and end by round {rounds}."
        )
    served = iter(times)
    for batch in batches:
        last = [next(served) for _ in range(batch.size)][-1]
        if _end_of_round(last) > batch.after:
            raise Refused(
                f"withdrawal.stream.policy: {name} serves after round {batch.after} what comes at "
                f"{last:g} only."
            )


def _together(ends: Iterable[int]) -> list[Batch]:
    return [Batch(after, len(list(same))) for after, same in groupby(ends)]


def _end_of_round(at: float) -> int:
    return max(1, math.ceil(at))
