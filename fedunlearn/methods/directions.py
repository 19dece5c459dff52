"""Which way a leaver's work takes the model: up its loss, or down it and back past the start."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from fedunlearn import checks
from fedunlearn.history import History
from fedunlearn.local import Ascent, Ball, LocalWork, Sgd, SquaredGradients


class Direction(Protocol):
    """A way out of what the leavers know: the model moves by ``sign`` times their mean update."""

    @property
    def sign(self) -> float:
        """1: the model goes where the leavers went; -1: as far the other way."""

    def asked(self, history: History) -> LocalWork:
        """Return the work that the leavers are asked to do."""


@dataclass(frozen=True, slots=True)
class Climb:
    """Up the loss, in a ball: ``w <- P(w + lr grad F_u(w))``, ``|w - w_T| <= r |w_T - w_0|``.

    r is ``radius``, w_T the trained model and w_0 the first one; all lengths are plain Euclidean
    ones. Ascent on the cross-entropy has no end: the ball is what keeps a model.
    """

    sign: ClassVar[float] = 1.0

    radius: checks.Positive = 0.1
    """Radius of the ball, as a share of the way that training took."""
    work: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=3, clip_norm=5.0, optimizer=Sgd(lr=0.02), objective=Ascent()
        )
    )
    """What every leaver does: ascent."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for work with a bound of its own."""
        checks.fields(self)
        if self.work.bound is not None:
            raise checks.field_refused(self, "work", ".bound must be null: the ball is `radius`.")

    def asked(self, history: History) -> LocalWork:
        """Return the work, kept in the ball."""
        way = float((history.final - history.initial).norm())
        return replace(self.work, bound=Ball(self.radius * way))


@dataclass(frozen=True, slots=True)
class Reflect:
    """Down the loss, then as far to the other side: from w to v, and back to ``2 w - v``.

    For one step it is ascent. Longer work fades out where the leavers' records are learnt, and so
    does what it takes back: it needs no ball.
    """

    sign: ClassVar[float] = -1.0

    work: LocalWork = field(default_factory=lambda: LocalWork(epochs=1, optimizer=Sgd(lr=0.1)))
    """What every leaver does: training, as if it stayed."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def asked(self, history: History) -> LocalWork:
        """Return the work."""
        return self.work


@dataclass(frozen=True, slots=True)
class Consolidation:
    """What holds a model to what those who remain know: ``lambda sum_j F_j (w_j - w_T,j)^2``."""

    strength: checks.Positive = 10_000.0
    """Lambda: how much the penalty counts next to the mean loss."""
    importance: SquaredGradients = field(default_factory=SquaredGradients)
    """What those who remain are asked for: F is its mean over all their records."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
