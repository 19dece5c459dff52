"""The records of many clients, as they train on them in a round and as each of them counts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data import ClientId, Shards
from fedunlearn.local.work import LocalWork


def shown(
    shards: Shards,
    clients: Sequence[ClientId],
    work: LocalWork,
    rngs: Sequence[np.random.Generator],
) -> Shards:
    """Return the records of ``clients`` alone, in this order, as `LocalWork.shown` changes them."""
    held = zip((shards[client] for client in clients), rngs, strict=True)
    parts = [replace(each, inputs=work.shown(each.inputs, rng)) for each, rng in held]
    return Shards.of(parts)


def counts(shards: Shards, clients: Sequence[ClientId], work: LocalWork) -> Tensor | None:
    """Return what each record counts by its number, [n] float64; None: all the same.

    Those of others than ``clients`` are not looked up, and count 1.
    """
    if work.class_weights is None:
        return None
    labels = shards.records.labels
    counted = torch.ones(len(labels), dtype=torch.float64, device=labels.device)
    for span in map(shards.span, clients):
        rows = slice(span.start, span.stop)
        counted[rows] = cast(Tensor, work.counts(labels[rows]))
    return counted
