"""The same local work for many clients at once: one SGD loop over a [k, d] matrix.

Clients are sorted by their number of steps, so that those still at work are always the first rows.
In every step each of them takes one batch; batches of nearly equal size go through the net
together.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data import ClientId, Shards
from fedunlearn.local.ball import Ball
from fedunlearn.local.batches import Group, groups
from fedunlearn.local.objectives import of_many
from fedunlearn.local.per_record_gradients import moments
from fedunlearn.local.sgd import clipped
from fedunlearn.local.work import LocalWork
from fedunlearn.models import Network, Vector


def train_cohort(
    network: Network,
    starts: Vector,
    shards: Shards,
    clients: Sequence[ClientId],
    work: LocalWork,
    round: int,
    rngs: Sequence[np.random.Generator],
    other: Vector | None = None,
) -> Tensor:
    """Train each of k clients on its shard; return their weights [k, d].

    The arguments are those of `train_cohort_counted`.
    """
    return train_cohort_counted(network, starts, shards, clients, work, round, rngs, other)[0]


def train_cohort_counted(
    network: Network,
    starts: Vector,
    shards: Shards,
    clients: Sequence[ClientId],
    work: LocalWork,
    round: int,
    rngs: Sequence[np.random.Generator],
    other: Vector | None = None,
) -> tuple[Tensor, list[int]]:
    """Train each of k clients on its shard; return their weights [k, d] and records processed.

    ``starts`` is the model that all start from, [d], or one for each, [k, d]; ``other`` [d] is the
    second model of `local.train_counted`, the same for all. Row i is what
    `train_counted` returns for ``clients[i]``, up to rounding: every client sees the batches
    that its generator in ``rngs`` draws, with optimizer state of its own.
    """
    sizes = [work.sizes(len(shards.span(client))) for client in clients]
    order = sorted(range(len(clients)), key=lambda row: -len(sizes[row]))
    drawn = []
    for row in order:
        span = shards.span(clients[row])
        drawn.append(work.order(len(span), rngs[row]) + span.start)
    parameters, lr = network.layout.parameters, work.lr(round)
    begun = starts.expand(len(order), -1) if starts.dim() == 1 else starts[order]
    active, buffers = begun[:, parameters].clone(), begun[:, parameters.stop :]
    origins = starts if starts.dim() == 1 else begun
    sent = _sent(origins, other)
    gradients = _gradients(network, work, shards, sent, buffers)
    going = torch.ones_like(active[:, :1], dtype=torch.bool)
    taken = torch.zeros_like(going, dtype=torch.int64)
    state = work.optimizer.start(active)
    steps = groups(drawn, [sizes[row] for row in order], starts.device)
    for count, step in enumerate(steps, start=1):
        found = [gradients(active, group) for group in step]
        gradient, *square = (_gathered(step, each) for each in zip(*found, strict=True))
        gradient, busy = clipped(gradient, work.clip_norm), len(gradient)
        still = active[:busy], tuple(each[:busy] for each in state)
        before = active[:0] if work.bound is None else still[0].clone()
        work.optimizer.step(still[0], gradient, still[1], lr, count, *square)
        if work.bound is not None:
            models = (sent if sent.dim() == 2 else sent[:busy])[..., parameters]
            taken[:busy] += going[:busy]
            _hold(work.bound, still[0], before, going[:busy], models)
            if not going[:busy].any():
                break
    trained = torch.empty_like(begun)
    trained[order] = torch.cat([active, buffers], dim=1)
    processed = [sum(each) for each in sizes]
    if work.bound is not None:
        for row, count in zip(order, taken.flatten().tolist(), strict=True):
            processed[row] = sum(sizes[row][:count])
    return trained, processed


def _sent(starts: Tensor, other: Vector | None) -> Tensor:
    """Return what the server sent: [m, d] for all clients, or [k, m, d]."""
    models = [starts] if other is None else [starts, other.expand_as(starts)]
    return torch.stack(models, dim=-2)


def _hold(bound: Ball, weights: Tensor, before: Tensor, going: Tensor, sent: Tensor) -> None:
    """Keep ``weights`` [k, p] within ``bound`` after a step; rows that had ended stay ``before``.

    ``going`` [k, 1] says which rows go on, and is brought up to date.
    """
    bound.project(weights, sent[..., 0, :])
    weights.copy_(torch.where(going, weights, before))
    going &= ~bound.left(weights, sent[..., 1, :])


def _gathered(step: Sequence[Group], found: Sequence[Tensor]) -> Tensor:
    """Put what was found for all groups of a step into the order of the clients."""
    if len(step) == 1:
        return found[0]
    gathered = found[0].new_empty(sum(map(len, found)), found[0].shape[1])
    for group, each in zip(step, found, strict=True):
        gathered[group.clients] = each
    return gathered


def _gradients(
    network: Network, work: LocalWork, shards: Shards, sent: Tensor, buffers: Tensor
) -> Callable[[Tensor, Group], tuple[Tensor, ...]]:
    """Return the function from all parameters [k, p] to the gradients [g, p] of a group.

    The mean of the single records' squared gradients, [g, p], follows if the optimizer takes it.
    """
    records = shards.records
    one_each = sent.dim() == 3

    losses = of_many(work.objective, network, one_each)

    def gradients(active: Tensor, group: Group) -> tuple[Tensor, ...]:
        flat, shape = group.records.flatten(), group.records.shape
        images = records.images.index_select(0, flat).view(*shape, *records.images.shape[1:])
        labels = records.labels.index_select(0, flat).view(*shape, *records.labels.shape[1:])
        models = sent[group.clients] if one_each else sent
        if work.optimizer.squares:
            own, rest = active[group.clients], buffers[group.clients]
            shares = group.weights.to(own.dtype)
            return moments(work.objective, network, own, rest, images, labels, shares, models)
        leaf = active[group.clients].requires_grad_()
        weights = torch.cat([leaf, buffers[group.clients]], 1) if buffers.shape[1] else leaf
        # The rows are independent: the gradient of the sum holds each row's own.
        values = losses(weights, images, labels, models)
        (found,) = torch.autograd.grad(values, leaf, group.weights.to(values.dtype))
        return (found,)

    return gradients
