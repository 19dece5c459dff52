"""What many clients are to train, and what local training returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.local.mask import Mask
from fedunlearn.local.work import LocalWork
from fedunlearn.randomness import Entropy

Records = TypeVar("Records", int, list[int])


@dataclass(frozen=True, slots=True)
class CohortWork:
    """The local work of k clients at the same time."""

    starts: Tensor
    """The model from which all start, [d], or one for each, [k, d]."""
    clients: Sequence[ClientId]
    """[k]."""
    work: LocalWork
    round: int
    """Sets the learning rate."""
    seeds: Sequence[Entropy]
    """Of each client's randomness, [k]."""
    other: Tensor | None = None
    """A second model for work that compares with it, [d] for all, or one for each, [k, d]."""
    mask: Mask | None = None
    """How far which parameters may move, for all of them; None: any."""


class Trained(NamedTuple, Generic[Records]):
    """What one client, or k of them, trained."""

    weights: Tensor
    """[d] of one client, [k, d] of k."""
    processed: Records
    """Records that a client processed, of k clients a list. A record counts once an epoch; where
    the work's bound ends it, all batches up to then count."""
