"""What changes in who holds which records while a federation trains."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from fedunlearn.data.parts import ClientId
from fedunlearn.data.scopes import Everything, Scope

FROM_THE_START = 1
"""The first training round: who takes part in it was there from the start."""


@dataclass(frozen=True, slots=True)
class Change:
    """After a training round some clients have records erased, or bring records.

    Of changes after the same round, the first in a sequence comes first. Who brings records
    takes part from the next round on; whoever's first change is that was absent until then.
    """

    after: int
    """The training round, from 0: before the first."""
    clients: tuple[ClientId, ...]
    """Ascending."""
    kind: Literal["erase", "join", "join with others"] = "erase"
    """Whether records go or come; ``others`` are those that the client never held before."""
    scope: Scope = field(default_factory=Everything)
    """Which records go or come. Those of the scope that are not there cannot go."""


@dataclass(frozen=True, slots=True)
class Held:
    """Which records somebody may see: what a message to a client says of it."""

    round: int
    """Of what was held in this training round."""
    served: int = 0
    """Without what these first erasures took, in every round: retraining replays it so."""
    asked: int = 0
    """From 1: just what this erasure takes; 0: all but that."""


def erasures(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Return the changes that erase: the i-th is number i, from 1."""
    return tuple(change for change in changes if change.kind == "erase")
