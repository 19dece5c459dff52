"""The same local work for many clients at once: one SGD loop over a [k, d] matrix.

Clients are sorted by their number of steps, so that those still at work are always the first rows.
In every step each of them takes one batch; batches of nearly equal size go through
``vmap(grad(loss))`` together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.utils.rnn import pad_sequence

from fedunlearn.data.dataset import Records
from fedunlearn.layout import Vector
from fedunlearn.local import LocalWork
from fedunlearn.models import Network

LEAST_FILLED = 0.9
"""A batch joins a group if it fills this share of the longest there: padding is at most 10 %."""


@dataclass(frozen=True, slots=True)
class Group:
    """Clients whose batches of one step are computed together."""

    clients: Tensor
    """Their rows of the matrix, [g]."""
    records: Tensor
    """Record numbers of each batch, [g, b]; shorter batches are padded with record 0."""
    weights: Tensor
    """What each record counts, [g, b]: ``1 / n`` in a batch of n, 0 for padding."""


def train_cohort(
    network: Network,
    start: Vector,
    records: Sequence[Records],
    work: LocalWork,
    round: int,
    rngs: Sequence[np.random.Generator],
) -> Tensor:
    """Train from ``start`` [d] on the records of k clients; return their weights [k, d].

    Row i is what `train_locally` returns for client i, up to rounding: every client sees the
    batches that its generator in ``rngs`` draws, with optimizer state of its own.
    """
    lengths = [work.epochs * -(-len(held) // work.batch_size) for held in records]
    order = sorted(range(len(records)), key=lambda client: -lengths[client])
    images = torch.cat([records[client].images for client in order]).to(start.dtype)
    labels = torch.cat([records[client].labels for client in order])
    batches = _batches([len(records[client]) for client in order], work, [rngs[i] for i in order])

    gradients = _gradients(network, work, start)
    parameters = network.layout.parameters
    buffers = start[parameters.stop :]
    lr = work.lr(round)
    active = torch.nn.Parameter(start[parameters].expand(len(order), -1).clone())
    optimizer = work.optimizer.build(active, lr)
    finished: list[Tensor] = []
    for groups in batches:
        busy = sum(len(group.clients) for group in groups)
        if busy < len(active):
            finished.append(active[busy:].detach())
            active, optimizer = _first(busy, active, optimizer, work, lr)
        active.grad = torch.empty_like(active)
        for group in groups:
            whole = torch.cat([active[group.clients], buffers.expand(len(group.clients), -1)], 1)
            found = gradients(
                whole.detach(),
                images[group.records],
                labels[group.records],
                group.weights.to(start.dtype),
            )
            active.grad[group.clients] = _clipped(found[:, parameters], work.clip_norm)
        optimizer.step()
    finished.append(active.detach())
    trained = torch.cat(finished[::-1])
    back = torch.empty(len(order), dtype=torch.int64)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat([trained, buffers.expand(len(order), -1)], dim=1)[back]


def _gradients(network: Network, work: LocalWork, start: Vector) -> Any:
    """Return the function from weights [g, d] and batches to gradients [g, d]."""

    def loss(weights: Vector, images: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        return (work.objective(network, weights, images, labels, start) * counts).sum()

    return vmap(grad(loss))


def _batches(
    sizes: Sequence[int], work: LocalWork, rngs: Sequence[np.random.Generator]
) -> Iterator[list[Group]]:
    """Yield the groups of every step; clients come with the longest work first."""
    offsets = np.cumsum([0, *sizes])
    streams = [work.batches(size, rng) for size, rng in zip(sizes, rngs, strict=True)]
    while taken := [rows for stream in streams if (rows := next(stream, None)) is not None]:
        yield _grouped([rows + offset for rows, offset in zip(taken, offsets, strict=False)])


def _grouped(batches: Sequence[Tensor]) -> list[Group]:
    """Put batches of nearly equal size together, longest first."""
    rest = sorted(range(len(batches)), key=lambda client: -len(batches[client]))
    groups = []
    while rest:
        longest = len(batches[rest[0]])
        alike = [client for client in rest if len(batches[client]) >= LEAST_FILLED * longest]
        rest = rest[len(alike) :]
        records = pad_sequence([batches[client] for client in alike], batch_first=True)
        counts = torch.tensor([len(batches[client]) for client in alike])[:, None]
        weights = (torch.arange(longest) < counts).double() / counts
        groups.append(Group(torch.tensor(alike), records, weights))
    return groups


def _first(
    busy: int,
    active: torch.nn.Parameter,
    optimizer: torch.optim.Optimizer,
    work: LocalWork,
    lr: float,
) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    """Keep the first ``busy`` rows of the matrix and of the optimizer's state."""
    kept = torch.nn.Parameter(active[:busy].detach().clone())
    smaller = work.optimizer.build(kept, lr)
    smaller.state[kept] = {
        name: value[:busy].clone() if value.shape == active.shape else value
        for name, value in optimizer.state[active].items()
        if isinstance(value, Tensor)
    }
    return kept, smaller


def _clipped(gradients: Tensor, longest: float | None) -> Tensor:
    """Shorten each row to ``longest``, as torch's clip_grad_norm_ does."""
    if longest is None:
        return gradients
    norms = gradients.norm(dim=1, keepdim=True)
    shortened: Tensor = gradients * (longest / (norms + 1e-6)).clamp_max(1)
    return shortened
