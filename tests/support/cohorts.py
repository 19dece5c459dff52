"""Clients with unequal numbers of records, trained together and one by one."""

import numpy as np
import torch

from fedunlearn.data import Records, Shards
from fedunlearn.local import (
    train_locally,
)
from fedunlearn.local.cohort import train_cohort
from fedunlearn.models import Mlp, Network

RAGGED = (60, 7, 33, 64, 1, 32, 58)


def world(sizes, network, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    records = [
        Records(
            torch.rand(size, 1, 8, 8, generator=generator).to(dtype),
            torch.randint(0, 10, (size,), generator=generator),
        )
        for size in sizes
    ]
    return records, network.initial(1).to(dtype)


def rngs(count):
    return [np.random.default_rng([5, client]) for client in range(count)]


def both(work, sizes=RAGGED, network=None, dtype=torch.float32, rounds=3):
    """Train rounds from the mean of the last; return the models of either way."""
    network = network or Network(Mlp((16,)), (1, 8, 8), 10)
    records, start = world(sizes, network, dtype)
    results = []
    for together in (True, False):
        weights = start
        for number in range(1, rounds + 1):
            if together:
                trained = train_cohort(
                    *(network, weights, Shards.of(records), range(len(sizes))),
                    *(work, number, rngs(len(sizes))),
                ).weights
            else:
                trained = torch.stack(
                    [
                        train_locally(
                            network, weights, r.inputs, r.labels, work, number, rng
                        ).weights
                        for r, rng in zip(records, rngs(len(sizes)), strict=True)
                    ]
                )
            weights = trained.mean(dim=0)
        results.append(trained)
    return results
