"""How partitions deal: first how many records of each group go to whom, then which."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fedunlearn.checks import Refused
from fedunlearn.data.parts import Indices, Parts

TRIES = 10_000
"""Draws before a partition gives up on its minimum."""


def check_room(clients: int, minimum: int, records: int) -> None:
    """Raise `Refused` where there are too few records for everyone's minimum."""
    if clients * minimum > records:
        raise Refused(
            f"partition.clients={clients} times partition.minimum={minimum} is more than the "
            f"{records} records; lower one of the two."
        )


def draw_until(draw: Callable[[], Indices], minimum: int, cause: str) -> Indices:
    """Repeat ``draw`` until it gives every client its minimum.

    ``draw`` returns counts [groups, clients]. Raises `Refused` after `TRIES` draws, naming
    ``cause``, the setting that makes parts small.
    """
    for _ in range(TRIES):
        counts = draw()
        if counts.sum(axis=0).min() >= minimum:
            return counts
    raise Refused(
        f"None of {TRIES} draws with {cause} for partition.clients={counts.shape[1]} gave every "
        f"client partition.minimum={minimum} records; raise the first or lower one of the others."
    )


def apportion(sizes: Indices, shares: npt.NDArray[np.float64], rng: np.random.Generator) -> Indices:
    """Cut each group of ``sizes`` [g] by ``shares`` [g, n] into whole counts [g, n].

    The cuts are ``floor(size * cumulated share + u)`` with one u from [0, 1) a group. So counts
    add up, each is off from ``size * share`` by less than one, and on average it is that. With
    u = 1/2 always, a class of few records would go to clients in the middle.

    Madow. On the theory of systematic sampling, II. Annals of Mathematical Statistics, 1949.
    """
    start = rng.random((len(sizes), 1))
    cuts = np.floor(sizes[:, None] * shares.cumsum(axis=1) + start).astype(np.int64)
    cuts[:, -1] = sizes
    counts: Indices = np.diff(np.minimum(cuts, sizes[:, None]), axis=1, prepend=0)
    return counts


def choose_holders(
    clients: int, each: int, classes: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Let every client hold ``each`` of the classes: [classes, clients], True where it does.

    One client after another, in random order, takes the classes with the fewest holders so far,
    ties at random.
    """
    held = np.zeros((classes, clients), np.bool_)
    for client in rng.permutation(clients):
        rarest_first = np.lexsort((rng.random(classes), held.sum(axis=1)))
        held[rarest_first[:each], client] = True
    return held


def share_equally(sizes: Indices, held: npt.NDArray[np.bool_], rng: np.random.Generator) -> Indices:
    """Divide each class of ``sizes`` [classes] equally among its holders: [classes, clients].

    ``held`` [classes, clients] says who they are; what does not divide goes to random holders.
    """
    counts = np.zeros(held.shape, np.int64)
    for row, size, holds in zip(counts, sizes, held, strict=True):
        who = rng.permutation(np.flatnonzero(holds))
        row[who] = size // len(who)
        row[who[: size % len(who)]] += 1
    return counts


def deal(groups: npt.NDArray[Any], counts: Indices, rng: np.random.Generator) -> Parts:
    """Give each client ``counts`` [groups, clients] random records of each group.

    ``groups`` [n] holds the group of each record, numbered from 0.
    """
    hands = []
    for group, row in enumerate(counts):
        shuffled = rng.permutation(np.flatnonzero(groups == group))
        hands.append(np.split(shuffled, row.cumsum()[:-1]))
    return tuple(np.sort(np.concatenate(hand)) for hand in zip(*hands, strict=True))
