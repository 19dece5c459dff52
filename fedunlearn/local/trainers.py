"""Who trains many clients with their own records at the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedunlearn.data import ClientId, Shards
from fedunlearn.local.sgd import train_locally
from fedunlearn.local.trained import Trained
from fedunlearn.local.work import LocalWork
from fedunlearn.models import Network
from fedunlearn.randomness import Entropy, generator
from fedunlearn.threads import pool


class Trainer(Protocol):
    """Does the local work of many clients, without messages: `ChunkedTrainer`, `Threads`."""

    @property
    def shards(self) -> Shards:
        """What each client trains on."""

    def train(
        self,
        starts: Tensor,
        clients: Sequence[ClientId],
        work: LocalWork,
        round: int,
        seeds: Sequence[Entropy],
    ) -> Trained[list[int]]:
        """Train ``clients[i]`` from ``starts[i]`` [d] (or all from one), with ``seeds[i]``."""


@dataclass(frozen=True)
class Threads:
    """Trains each client by itself, as many at a time as there are threads."""

    network: Network
    shards: Shards
    workers: int

    def train(
        self,
        starts: Tensor,
        clients: Sequence[ClientId],
        work: LocalWork,
        round: int,
        seeds: Sequence[Entropy],
    ) -> Trained[list[int]]:
        """See `Trainer.train`; row i is what `train_locally` returns, bit for bit."""
        device = self.shards.records.labels.device

        def one(row: int) -> Trained[int]:
            records, start = self.shards[clients[row]], starts if starts.dim() == 1 else starts[row]
            weights, processed = train_locally(
                *(self.network, start.to(device), records.images, records.labels),
                *(work, round, generator(seeds[row])),
            )
            return Trained(weights.cpu(), processed)

        with pool(self.workers) as threads:
            rows = list(threads.map(one, range(len(clients))))
        return Trained(torch.stack([row.weights for row in rows]), [row.processed for row in rows])
