"""One client on two threads: each computes the gradient of a half of every batch."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from torch import Tensor

from fedunlearn.local.mask import Mask
from fedunlearn.local.sgd import Gradients, Slopes, train_locally
from fedunlearn.local.trained import Trained
from fedunlearn.local.work import LocalWork
from fedunlearn.models import Network, Vector
from fedunlearn.threads import pool


class Halves:
    """Trains as `train_locally` does, with each batch cut into halves, for two threads.

    Both look at the same weights, and the two gradients are added in the same order, whatever the
    number of cores: torch's own threads would round sums as their number has it, and wait for each
    other in every layer.
    """

    def __init__(self, *, together: bool = True) -> None:
        """Let the halves be computed side by side, or one after the other, to the same bits."""
        self.together = together
        self._own = threading.local()

    def __call__(
        self,
        network: Network,
        start: Vector,
        images: Tensor,
        labels: Tensor,
        work: LocalWork,
        round: int,
        rng: np.random.Generator,
        other: Vector | None = None,
        mask: Mask | None = None,
    ) -> Trained[int]:
        """Train from ``start`` [d]; see `train_locally`, to which it is equal up to rounding."""
        task = (network, start, images, labels, work, round, rng, other, mask)
        return train_locally(*task, self._halved)

    def _halved(self, slopes: Slopes) -> Gradients:
        helper = self._helper()

        def gradients(
            inputs: Tensor, targets: Tensor, share: Tensor | None
        ) -> tuple[Tensor, Tensor | None]:
            records = len(targets)
            if records == 1:
                return slopes(inputs, targets, share)
            if share is None:
                share = slopes.memory.new_full((records,), 1 / records)
            first, second = (
                tuple(part[half] for part in (inputs, targets, share))
                for half in (slice(-(-records // 2)), slice(-(-records // 2), None))
            )
            waiting = helper.submit(slopes, *second)
            if not self.together:
                wait([waiting])
            gradient, square = slopes(*first)
            more, squares = waiting.result()
            if square is not None and squares is not None:
                square = square + squares
            return gradient.add_(more), square

        return gradients

    def _helper(self) -> ThreadPoolExecutor:
        """Return the second thread of the calling one; it ends with it."""
        helper: ThreadPoolExecutor | None = getattr(self._own, "helper", None)
        if helper is None:
            helper = self._own.helper = pool(1)
        return helper
