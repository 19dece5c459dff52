"""Who trains many clients with their own records at the same time."""

from dataclasses import dataclass
from typing import Protocol

import torch

from fedunlearn.data import Shards
from fedunlearn.local.halves import Halves
from fedunlearn.local.sgd import train_locally
from fedunlearn.local.trained import CohortWork, Trained
from fedunlearn.models import Network
from fedunlearn.randomness import generator
from fedunlearn.threads import pool


class Trainer(Protocol):
    """Does the local work of many clients, without messages: `ChunkedTrainer`, `Threads`."""

    @property
    def shards(self) -> Shards:
        """What each client trains on."""

    def train(self, cohort: CohortWork) -> Trained[list[int]]:
        """Let every client of ``cohort`` train; row i is that of ``cohort.clients[i]``."""


@dataclass(frozen=True)
class Threads:
    """Trains each client by itself, as many at a time as there are threads."""

    network: Network
    shards: Shards
    workers: int
    halves: Halves | None = None
    """What trains a client on two threads; None: each has one."""

    def train(self, cohort: CohortWork) -> Trained[list[int]]:
        """See `Trainer.train`; row i is what `train_locally` or `halves` returns, bit for bit."""
        device = self.shards.records.labels.device
        other = None if cohort.other is None else cohort.other.to(device)
        train_one = self.halves or train_locally
        mask = None if cohort.mask is None else cohort.mask.to(device)

        def one(row: int) -> Trained[int]:
            records, starts = self.shards[cohort.clients[row]], cohort.starts
            start = starts if starts.dim() == 1 else starts[row]
            second = other if other is None or other.dim() == 1 else other[row]
            weights, processed = train_one(
                self.network,
                start.to(device),
                records.inputs,
                records.labels,
                cohort.work,
                cohort.round,
                generator(cohort.seeds[row]),
                second,
                mask,
            )
            return Trained(weights.cpu(), processed)

        with pool(self.workers) as threads:
            rows = list(threads.map(one, range(len(cohort.clients))))
        return Trained(torch.stack([row.weights for row in rows]), [row.processed for row in rows])
