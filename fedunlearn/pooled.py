"""The mean of what several groups of clients sent."""

from collections.abc import Sequence

import torch

from fedunlearn.history import Updates
from fedunlearn.layout import Vector
from fedunlearn.vectors import mean


def pooled(groups: Sequence[Updates]) -> Vector:
    """Return the FedAvg step of all clients of all ``groups``, [d]: zero where nobody answered.

    Each counts by its records, as if all had been asked at once; see `vectors.mean`.
    """
    answered = [updates for updates in groups if updates.clients]
    if not answered:
        return groups[0].deltas.new_zeros(groups[0].deltas.shape[1])
    means = [mean(updates.deltas, updates.examples) for updates in answered]
    return mean(torch.stack(means), torch.stack([updates.examples.sum() for updates in answered]))
