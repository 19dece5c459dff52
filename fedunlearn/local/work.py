"""What a client is asked to do in a round."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Count, Positive
from fedunlearn.local import class_weights
from fedunlearn.local.augmentation import Augmentation
from fedunlearn.local.ball import Ball
from fedunlearn.local.class_weights import ClassWeights
from fedunlearn.local.objectives import CrossEntropy, Distillation, Objective
from fedunlearn.local.optimizers import LocalOptimizer, Sgd
from fedunlearn.local.schedule import Schedule
from fedunlearn.local.straggling import Straggling
from fedunlearn.randomness import Stream, sibling


@dataclass(frozen=True, slots=True)
class LocalWork:
    """What a client is asked to do with its records in one round."""

    epochs: Count = 5
    """Times that a client goes through its records."""
    batch_size: Count = 32
    """Records a step; the last batch of an epoch may be smaller."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the learning rate changes from round to round."""
    clip_norm: Positive | None = None
    """Longest gradient of a step, in the Euclidean norm; None: any."""
    optimizer: LocalOptimizer = field(default_factory=Sgd)
    """How a step follows from a gradient."""
    objective: Objective = field(default_factory=CrossEntropy)
    """What is minimised."""
    bound: Ball | None = None
    """How far the weights may go; None: anywhere."""
    batches: Count | None = None
    """The most steps, which may end within an epoch; None: all epochs."""
    class_weights: ClassWeights | None = None
    """What records of each class count: a list of numbers, or balanced; None: all the same."""
    augmentation: Augmentation | None = None
    """How records are changed before each round, for training alone; None: not at all."""
    straggling: Straggling | None = None
    """How some clients stop early; None: none does."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
        object.__setattr__(self, "class_weights", class_weights.checked(self, self.class_weights))
        for key in ("class_weights", "augmentation"):
            if isinstance(self.objective, Distillation) and getattr(self, key) is not None:
                rest = " must be null: a teacher answers for each record as it is, without a label."
                raise checks.field_refused(self, key, rest)

    def lr(self, round: int) -> float:
        """Return the learning rate of training round ``round``, counted from 1."""
        return self.optimizer.lr * self.schedule.factor(round)

    def scaled(self, effort: float) -> "LocalWork":
        """Return the same work with ``ceil(effort * epochs)`` epochs, and as much of `batches`."""
        batches = None if self.batches is None else math.ceil(effort * self.batches)
        return replace(self, epochs=math.ceil(effort * self.epochs), batches=batches)

    def shown(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        """Return one client's inputs [n, *shape] as it trains on them in the round of ``rng``."""
        if self.augmentation is None:
            return inputs
        return self.augmentation(inputs, sibling(rng, Stream.AUGMENTATION))

    def counts(self, labels: Tensor) -> Tensor | None:
        """Return what each of one client's records counts, [n] float64; None: all the same."""
        if self.class_weights is None:
            return None
        return class_weights.weighed(labels, self.class_weights)

    def order(self, records: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw the record numbers of all epochs, each epoch shuffled anew, [`samples`]."""
        drawn = np.concatenate([rng.permutation(records) for _ in range(self.epochs)])
        return drawn[: self.samples(records)]

    def sizes(self, records: int) -> list[int]:
        """Return the records of each step; they take those of `order` one after another."""
        full, last = divmod(records, self.batch_size)
        return (([self.batch_size] * full + [last] * (last > 0)) * self.epochs)[: self.batches]

    def taken(self, records: int, rng: np.random.Generator) -> list[int]:
        """Return the records of each step that the client of ``rng`` takes before it stops."""
        sizes = self.sizes(records)
        return sizes if self.straggling is None else sizes[: self.straggling.steps(len(sizes), rng)]

    def samples(self, records: int) -> int:
        """Return how many records all steps take, a record counted once an epoch."""
        return sum(self.sizes(records))
