"""What a client is asked to do in a round."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fedunlearn import checks
from fedunlearn.local.ball import Ball
from fedunlearn.local.objectives import CrossEntropy, Objective
from fedunlearn.local.optimizers import LocalOptimizer, Sgd


@dataclass(frozen=True, slots=True)
class LocalWork:
    """What a client is asked to do with its records in one round."""

    epochs: int = 5
    batch_size: int = 32
    """Records a step; the last batch of an epoch may be smaller."""
    lr_decay: float = 1.0
    """The learning rate of round t is ``lr * lr_decay ** (t - 1)``."""
    clip_norm: float | None = None
    """Longest gradient of a step, in the Euclidean norm; None leaves gradients alone."""
    optimizer: LocalOptimizer = field(default_factory=Sgd)
    objective: Objective = field(default_factory=CrossEntropy)
    bound: Ball | None = None
    """How far the weights may go; None: anywhere."""
    batches: int | None = None
    """The most steps, after which the round ends in the middle of an epoch; None: all epochs."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.whole("work.epochs", self.epochs)
        checks.whole("work.batch_size", self.batch_size)
        if self.batches is not None:
            checks.whole("work.batches", self.batches)
        checks.number("work.lr_decay", self.lr_decay, above=0, at_most=1)
        if self.clip_norm is not None:
            checks.number("work.clip_norm", self.clip_norm, above=0)

    def lr(self, round: int) -> float:
        """Return the learning rate of training round ``round``, counted from 1."""
        return self.optimizer.lr * self.lr_decay ** (round - 1)

    def scaled(self, effort: float) -> "LocalWork":
        """Return the same work with ``ceil(effort * epochs)`` epochs, and as much of `batches`."""
        batches = None if self.batches is None else math.ceil(effort * self.batches)
        return replace(self, epochs=math.ceil(effort * self.epochs), batches=batches)

    def order(self, records: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw the record numbers of all epochs, each epoch shuffled anew, [`samples`]."""
        drawn = np.concatenate([rng.permutation(records) for _ in range(self.epochs)])
        return drawn[: self.samples(records)]

    def sizes(self, records: int) -> list[int]:
        """Return the records of each step; they take those of `order` one after another."""
        full, rest = divmod(records, self.batch_size)
        return (([self.batch_size] * full + [rest] * (rest > 0)) * self.epochs)[: self.batches]

    def samples(self, records: int) -> int:
        """Return how many records all steps take together, a record counted once an epoch."""
        return sum(self.sizes(records))
