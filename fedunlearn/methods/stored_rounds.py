"""What a stored round says of clients, read a few of them at a time."""

import math
from collections.abc import Iterator, Set

import torch
from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history import History, Needs, RecordedRound, Updates
from fedunlearn.models import Vector

BYTES = 2**28
"""That the updates of a block take, unless a single one takes more."""


def blocks(stored: RecordedRound, d: int) -> Iterator[RecordedRound]:
    """Show a round of models [d] as rounds of a few clients each, together all of them."""
    size = max(1, BYTES // (4 * d))
    clients = stored.clients
    for start in range(0, len(clients), size):
        yield stored.only(set(clients[start : start + size]))


def examples(stored: RecordedRound) -> Tensor:
    """Return the records of each client of a round, [k] int64, without reading any update."""
    return stored.reduced(Needs()).updates.examples


class BlockwiseStep:
    """The step of `history.fedavg_step` over the clients of a round who come block by block."""

    def __init__(self, stored: RecordedRound, d: int) -> None:
        self._expected = int(examples(stored).sum())
        self._answered = 0
        self._sum = torch.zeros(d)

    def add(self, updates: Updates) -> None:
        """Add what clients of a block sent, or are estimated to send."""
        weights = updates.examples.double() / self._expected
        self._sum += weights.to(updates.deltas.dtype) @ updates.deltas
        self._answered += int(updates.examples.sum())

    @property
    def step(self) -> Vector:
        """The mean update of those added, [d]; zero where there are none."""
        return self._sum * (self._expected / max(1, self._answered))


def step_of(stored: RecordedRound, d: int) -> Vector:
    """Return what the clients shown moved the model by, [d], as `Round.share` of them all."""
    shares = (block.share(set(block.clients)) for block in blocks(stored, d))
    return sum(shares, torch.zeros(d))


def quantile(stored: RecordedRound, d: int, share: float) -> float:
    """Return the least size that at most ``share`` of the updates' coordinates exceed."""
    count = math.floor(share * len(stored.clients) * d) + 1
    largest = torch.empty(0)
    for block in blocks(stored, d):
        sizes = torch.cat([largest, block.updates.deltas.abs().flatten()])
        largest = sizes.topk(min(count, len(sizes)), sorted=False).values
    return float(largest.min())


def last_rounds(
    history: History, leavers: Set[ClientId]
) -> list[tuple[RecordedRound, Set[ClientId]]]:
    """Find each leaver's last round with somebody who remains, and whose last round it is.

    A leaver who never took part is in none of them.
    """
    rounds: list[tuple[RecordedRound, Set[ClientId]]] = []
    missing = set(leavers)
    for stored in reversed(history):
        ending = missing & set(stored.clients)
        if ending and not leavers >= set(stored.clients):
            rounds.append((stored, ending))
            missing -= ending
    return rounds


def mean_update(stored: RecordedRound, d: int) -> Vector:
    """Return the mean update of the clients shown, [d]: the step FedAvg takes with them alone."""
    return step_of(stored, d) * (stored.cohort_examples / int(examples(stored).sum()))


def increment(history: History, place: int, leavers: Set[ClientId]) -> float:
    """Return how far from its end a stored round would have ended without ``leavers``.

    That is ``p / (1 - p) |D - U|``: U is the mean update of its cohort, D that of the leavers and p
    their share of its records. It is 0 where none of them took part and infinite where nobody else
    did. The server is taken to average, with a learning rate of 1. Needs stored updates and models.

    Where rows of clients who left earlier are gone, the round's step is read from the next model.
    If that one carries noise, the noise counts as distance: rather too far than not far enough.
    """
    stored, d = history[place], history.layout.size
    leaving = leavers & set(stored.clients)
    if not leaving:
        return 0.0
    counts = dict(zip(stored.clients, examples(stored).tolist(), strict=True))
    share: float = sum(counts[client] for client in leaving) / stored.cohort_examples
    if share == 1:
        return math.inf
    if sum(counts.values()) == stored.cohort_examples:
        step = step_of(stored, d)
    else:
        after = history[place + 1].before if place + 1 < len(history) else history.final
        step = after - stored.before
    left = step_of(stored.only(leaving), d)
    return float(torch.linalg.vector_norm(left - share * step)) / (1 - share)


def likeness(stored: RecordedRound, after: Vector, where: Tensor) -> float:
    """Return the mean cosine between each two clients' models of a round, on ``where`` [d].

    ``after`` [d] is the model that the whole round led to, so that a client's is ``after - D +
    delta_k``, D the mean update: the round keeps no model. Less than two clients are not alike: 0.
    """
    d, count = len(after), len(stored.clients)
    if count < 2:
        return 0.0
    own = [block.updates.deltas[:, where] for block in blocks(stored, d)]
    models = (after - mean_update(stored, d))[where] + torch.cat(own)
    total = torch.nn.functional.normalize(models.double(), dim=1).sum(0)
    return (float(total.square().sum()) - count) / (count * (count - 1))
