"""When a checkpoint is written: often enough to lose little, seldom enough to cost little."""

import math
import time
from dataclasses import dataclass

from fedunlearn.experiment.checkpoint import Checkpoint, RunState
from fedunlearn.unlearning import Clock

PATIENCE = 20
"""A checkpoint that took a second is not written again for this many: at most 5 % of the time."""


@dataclass
class CheckpointSchedule:
    """Writes a checkpoint where the one before is old enough."""

    checkpoint: Checkpoint
    pause: float
    """Seconds between checkpoints at least; 0 writes each."""
    clock: Clock = time.monotonic
    due: float = -math.inf
    """When the next checkpoint is to be written, on the clock."""

    def save(self, state: RunState, *, now: bool = False) -> None:
        """Write ``state``, unless one was written a moment ago; with ``now``, in any case."""
        began = self.clock()
        if now or began >= self.due:
            self.checkpoint.save(state)
            took = self.clock() - began
            self.due = began + (max(self.pause, PATIENCE * took) if self.pause else 0)
