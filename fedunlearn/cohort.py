"""The same local work for many clients at once: one SGD loop over a [k, d] matrix.

Clients are sorted by their number of steps, so that those still at work are always the first rows.
In every step each of them takes one batch; batches of nearly equal size go through the net
together, by ``vmap`` over the rows.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from fedunlearn.batching import Group, groups
from fedunlearn.data.dataset import Shards
from fedunlearn.history import ClientId
from fedunlearn.layout import Vector
from fedunlearn.local import LocalWork
from fedunlearn.models import Network


def train_cohort(
    network: Network,
    starts: Vector,
    shards: Shards,
    clients: Sequence[ClientId],
    work: LocalWork,
    round: int,
    rngs: Sequence[np.random.Generator],
) -> Tensor:
    """Train each of k clients on its shard; return their weights [k, d].

    ``starts`` is the model that all start from, [d], or one for each, [k, d]. Row i is what
    `train_locally` returns for ``clients[i]``, up to rounding: every client sees the batches
    that its generator in ``rngs`` draws, with optimizer state of its own.
    """
    sizes = [work.sizes(len(shards.span(client))) for client in clients]
    order = sorted(range(len(clients)), key=lambda row: -len(sizes[row]))
    drawn = []
    for row in order:
        span = shards.span(clients[row])
        drawn.append(work.order(len(span), rngs[row]) + span.start)
    parameters = network.layout.parameters
    lr = work.lr(round)
    begun = starts.expand(len(order), -1) if starts.dim() == 1 else starts[order]
    active = torch.nn.Parameter(begun[:, parameters].clone())
    buffers = begun[:, parameters.stop :]
    origins = starts if starts.dim() == 1 else begun
    gradients = _gradients(network, work, shards, origins, buffers)
    optimizer = work.optimizer.build(active, lr)
    finished: list[Tensor] = []
    for step in groups(drawn, [sizes[row] for row in order], starts.device):
        busy = sum(len(group.records) for group in step)
        if busy < len(active):
            finished.append(active[busy:].detach())
            active, optimizer = _first(busy, active, optimizer, work, lr)
        found = [_clipped(gradients(active, group), work.clip_norm) for group in step]
        if len(step) == 1:
            (active.grad,) = found
        else:
            active.grad = torch.empty_like(active)
            for group, each in zip(step, found, strict=True):
                active.grad[group.clients] = each
        optimizer.step()
    finished.append(active.detach())
    trained = torch.cat([torch.cat(finished[::-1]), buffers], dim=1)
    return trained[np.argsort(order)]


def _gradients(
    network: Network, work: LocalWork, shards: Shards, starts: Vector, buffers: Tensor
) -> Callable[[Tensor, Group], Tensor]:
    """Return the function from all parameters [k, p] to the gradients [g, p] of a group."""
    records = shards.records
    one_each = starts.dim() == 2

    def losses(weights: Vector, images: Tensor, labels: Tensor, start: Vector) -> Tensor:
        return work.objective(network, weights, images, labels, start)

    batched = vmap(losses, in_dims=(0, 0, 0, 0 if one_each else None))

    def gradients(active: Tensor, group: Group) -> Tensor:
        leaf = active.detach()[group.clients].requires_grad_()
        weights = torch.cat([leaf, buffers[group.clients]], 1) if buffers.shape[1] else leaf
        flat, shape = group.records.flatten(), group.records.shape
        images = records.images.index_select(0, flat).view(*shape, *records.images.shape[1:])
        labels = records.labels.index_select(0, flat).view(*shape, *records.labels.shape[1:])
        start = starts[group.clients] if one_each else starts
        # The rows are independent: the gradient of the sum holds each row's own.
        values = batched(weights, images, labels, start)
        (found,) = torch.autograd.grad(values, leaf, group.weights.to(values.dtype))
        return found

    return gradients


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
