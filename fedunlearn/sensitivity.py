"""How much a client moved the model, read from the stored rounds."""

import math
from collections.abc import Set

import torch

from fedunlearn.blocks import examples, step_of
from fedunlearn.history import ClientId, History


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
    own = step_of(stored.without(set(stored.clients) - leaving), d)
    return float(torch.linalg.vector_norm(own - share * step)) / (1 - share)
