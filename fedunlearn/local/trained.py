"""What local training returns."""

from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

Records = TypeVar("Records", int, list[int])


class Trained(NamedTuple, Generic[Records]):
    """What one client, or k of them, trained."""

    weights: Tensor
    """[d] of one client, [k, d] of k."""
    processed: Records
    """Records that a client processed, of k clients a list. A record counts once an epoch; where
    the work's bound ends it, all batches up to then count."""
