"""Record numbers by client: what must hold of them, and what is asked of them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fedunlearn import checks
from fedunlearn.checks import Refused

Indices = npt.NDArray[np.int64]
"""Records, by their place in a data set."""

Labels = npt.NDArray[np.integer[Any]]

Parts = tuple[Indices, ...]
"""The record numbers of each client, ascending; the position in the tuple is the client's id."""


HELDOUT = checks.Number(above=0, at_most=0.9)
"""Which share of its records a client may hold out."""

PROXY = checks.Number(at_least=0, at_most=0.9)
"""Which share of all records the server may own."""


def validate(parts: Parts, records: int, minimum: int) -> Parts:
    """Return ``parts``; raise `Refused` unless they divide ``records`` among all clients.

    Each number in ``0 … records - 1`` must occur exactly once, each client's ascending, and no
    client may hold fewer than ``minimum``.
    """
    for client, part in enumerate(parts):
        if len(part) < minimum:
            raise Refused(
                f"Client {client} would hold {len(part)} records, fewer than partition.minimum="
                f"{minimum}; lower it or partition.clients."
            )
        if not np.all(part[1:] > part[:-1]):
            raise Refused(f"The partition lists the records of client {client} out of order.")
    dealt = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    if not np.array_equal(dealt, np.arange(records)):
        raise Refused(
            f"The partition must give each of {records} records to exactly one client; it gives "
            f"{len(np.unique(dealt))} different ones in {len(dealt)} places."
        )
    return parts


def holdout(part: Indices, share: float, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Split one client's record numbers [n] at random into (train, held out), both ascending.

    ``round(share * n)`` are held out, but at least one record is on either side. The two come
    from the same distribution, as a membership attack needs it. Raises `Refused` for fewer than
    two records, or a share outside (0, 0.9].
    """
    checks.require("The share of records to hold out", HELDOUT, share)
    if len(part) < 2:
        raise Refused(
            f"A client with {len(part)} records cannot hold any out; raise partition.minimum to 2."
        )
    held = min(max(round(share * len(part)), 1), len(part) - 1)
    shuffled = rng.permutation(part)
    return np.sort(shuffled[held:]), np.sort(shuffled[:held])


def label_counts(labels: Labels, parts: Parts, classes: int) -> Indices:
    """Return how many records of each class each client holds, [clients, classes]."""
    return np.stack([np.bincount(labels[part], minlength=classes) for part in parts])


ClientId = int
"""The number of the client's data partition: stable across rounds, runs and engines."""
