"""Who trains many clients with their own records at the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedunlearn.data import ClientId, Shards
from fedunlearn.local.sgd import train_locally
from fedunlearn.local.work import LocalWork
from fedunlearn.models import Network, Vector
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
    ) -> Tensor:
        """Train ``clients[i]`` from ``starts[i]`` [d] (or all from one) and return [k, d]."""


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
    ) -> Tensor:
        """See `Trainer.train`; row i is what `local.train_locally` returns, bit for bit."""
        device = self.shards.records.labels.device

        def one(row: int) -> Vector:
            held, start = self.shards[clients[row]], starts if starts.dim() == 1 else starts[row]
            rng = generator(seeds[row])
            return train_locally(
                self.network, start.to(device), held.images, held.labels, work, round, rng
            ).cpu()

        with pool(self.workers) as threads:
            return torch.stack(list(threads.map(one, range(len(clients)))))
