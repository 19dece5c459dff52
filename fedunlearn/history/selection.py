"""Choosing among rounds and among updates: what policies and strategies rank them by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from fedunlearn.models import LEAST_LENGTH, Vector, lengths

BLOCK = 2**22
"""Coordinates that are worked on in float64 at a time."""


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive rounds among which some are chosen, while they come; a value."""

    seen: int = 0
    """Rounds so far."""
    scores: tuple[float, ...] = ()
    """Of those that are kept so far, in their order."""

    def then(self, score: float, length: int, most: int) -> tuple["Window", int | None]:
        """Take one more round; return the window with it, and the place of the one that leaves.

        Of each ``length`` rounds the ``most`` with the largest scores stay, of equal ones the
        earlier. The place counts from the end: -1 is the new round; None where nobody leaves.
        """
        seen, scores = (0, ()) if self.seen >= length else (self.seen, self.scores)
        scores = (*scores, score)
        if len(scores) <= most:
            return Window(seen + 1, scores), None
        leaving = min(range(len(scores)), key=lambda place: (scores[place], -place))
        stay = scores[:leaving] + scores[leaving + 1 :]
        return Window(seen + 1, stay), leaving - len(scores)


def part(share: float, count: int) -> int:
    """Return ``floor(share count)`` of the share as it is written, at least one of something."""
    return min(count, max(1, math.floor(Fraction(repr(float(share))) * count)))


def largest(scores: Tensor, count: int) -> list[int]:
    """Return the rows of the ``count`` largest of ``scores`` [k], ascending; ties: the earlier."""
    order = torch.sort(scores, descending=True, stable=True).indices
    return sorted(order[:count].tolist())


def contributions(deltas: Tensor, examples: Tensor, within: slice) -> Tensor:
    """Return ``n_k |delta_k|`` of each row, [k] float64; ``deltas`` is [k, d], ``examples`` [k]."""
    return examples.double() * lengths(deltas[:, within])[:, 0].double()


def cosines(before: Vector, deltas: Tensor, tensors: Sequence[slice]) -> Tensor:
    """Return how far each client's model points where the model sent out does, [k] float64.

    That is the mean over ``tensors`` of ``cos(w + delta_k, w)``: ``before`` is w [d], ``deltas``
    is [k, d]. A tensor of length zero points nowhere and counts as 0.
    """
    total = torch.zeros(len(deltas), dtype=torch.float64)
    for within in tensors:
        sent = before[within].double()
        rows = max(1, BLOCK // max(1, len(sent)))
        for start in range(0, len(deltas), rows):
            block = slice(start, start + rows)
            reached = sent + deltas[block, within].double()
            size = (lengths(reached)[:, 0] * lengths(sent)).clamp_min(LEAST_LENGTH)
            total[block] += (reached @ sent / size).to(total.device)
    return total / max(1, len(tensors))
