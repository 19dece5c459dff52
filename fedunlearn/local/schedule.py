"""How the learning rate changes from round to round: `Schedule`, a factor on the first one."""

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Literal

from fedunlearn import checks
from fedunlearn.checks import Count, CountFromZero, ShareAboveZero


@dataclass(frozen=True, slots=True)
class Schedule:
    """Warm up for some rounds, then follow a shape; every factor is above 0 and at most 1.

    The learning rate of round t is ``lr f(t - after)``, and with W ``warmup``, d ``decay``, E
    ``every``, R ``rounds`` and F ``floor``, ``f(s) = s / (W + 1)`` for s <= W, else g(s - W) with

        constant     g(s) = 1
        exponential  g(s) = d ** (s - 1)
        step         g(s) = d ** floor((s - 1) / E)
        cosine       g(s) = F + (1 - F) (1 + cos(pi min(1, (s - 1) / R))) / 2

    Rounds up to ``after`` have the factor of the first one. A rate of 0 would be a round that does
    nothing and is paid for, so none is.

    Loshchilov, Hutter. SGDR: stochastic gradient descent with warm restarts. ICLR 2017, arXiv
    1608.03983 (cosine). Goyal et al. Accurate, large minibatch SGD. 2017, arXiv 1706.02677
    (warm-up).
    """

    shape: Literal["constant", "exponential", "step", "cosine"] = "constant"
    """What follows the warm-up."""
    warmup: CountFromZero = 0
    """Rounds before the full learning rate is reached, in equal steps; 0: none."""
    decay: ShareAboveZero = 1.0
    """Factor of each round (exponential), or of each step (step)."""
    every: Count = 1
    """Rounds of a step (step)."""
    rounds: Count | None = None
    """Rounds from the full rate to the lowest one (cosine); null: none."""
    floor: ShareAboveZero = 0.01
    """The lowest rate as a share of the full one (cosine)."""
    after: CountFromZero = 0
    """Training rounds that do not count: the schedule begins with the one after them."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for those that are not heeded."""
        checks.fields(self)
        for field in fields(self):
            shapes, value = HEEDED.get(field.name, (self.shape,)), getattr(self, field.name)
            assert field.default is not MISSING
            if self.shape not in shapes and value != field.default:
                rest = f"={value} is heeded by {' and '.join(shapes)} only, not by {self.shape}."
                raise checks.field_refused(self, field.name, rest)
        if self.shape == "cosine" and self.rounds is None:
            rest = " must be a whole number of at least 1 where shape is cosine, not null."
            raise checks.field_refused(self, "rounds", rest)

    def factor(self, round: int) -> float:
        """Return the share of the full learning rate in training round ``round``, from 1."""
        count = max(1, round - self.after)
        if count <= self.warmup:
            return count / (self.warmup + 1)
        return SHAPES[self.shape](self, count - self.warmup)


def _cosine(schedule: Schedule, count: int) -> float:
    assert schedule.rounds is not None
    done = min(1.0, (count - 1) / schedule.rounds)
    return schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2


SHAPES: dict[str, Callable[[Schedule, int], float]] = {
    "constant": lambda schedule, count: 1.0,
    "exponential": lambda schedule, count: schedule.decay ** (count - 1),
    "step": lambda schedule, count: schedule.decay ** ((count - 1) // schedule.every),
    "cosine": _cosine,
}
"""The factor of a round, counted from 1 after the warm-up."""

HEEDED: dict[str, tuple[str, ...]] = {
    "decay": ("exponential", "step"),
    "every": ("step",),
    "rounds": ("cosine",),
    "floor": ("cosine",),
}
"""The shapes that heed a field; what is not here all do."""
