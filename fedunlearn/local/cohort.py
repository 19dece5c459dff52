"""The same local work for many clients at once: one SGD loop over a [k, d] matrix.

Clients are sorted by their number of steps, so that those still at work are always the first rows.
In every step each of them takes one batch; batches of nearly equal size go through the net
together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId, Indices, Shards
from fedunlearn.local.ball import Ball
from fedunlearn.local.batches import Group, groups
from fedunlearn.local.class_weights import shares
from fedunlearn.local.cohort_records import counts, shown
from fedunlearn.local.mask import Mask
from fedunlearn.local.objectives import of_many
from fedunlearn.local.optimizers import Step
from fedunlearn.local.per_record_gradients import moments
from fedunlearn.local.sgd import take_step
from fedunlearn.local.trained import Trained
from fedunlearn.local.work import LocalWork
from fedunlearn.models import Network


def train_cohort(
    network: Network,
    starts: Tensor,
    shards: Shards,
    clients: Sequence[ClientId],
    work: LocalWork,
    round: int,
    rngs: Sequence[np.random.Generator],
    other: Tensor | None = None,
    mask: Mask | None = None,
) -> Trained[list[int]]:
    """Train each of k clients on its shard.

    ``starts`` is the model that all start from, [d], or one for each, [k, d]; ``other`` is the
    second model of `train_locally`, likewise [d] or [k, d], and ``mask`` is one for all. Row i is
    what `train_locally` returns for ``clients[i]``, up to rounding: every client sees the batches
    that its generator in ``rngs`` draws, with optimizer state of its own. Raises `Refused` for a
    net that is `stochastic`.
    """
    _require_deterministic(network)
    if work.augmentation is not None:
        shards, clients = shown(shards, clients, work, rngs), range(len(clients))
    spans = [shards.span(client) for client in clients]
    sizes = [work.taken(len(span), rng) for span, rng in zip(spans, rngs, strict=True)]
    order = sorted(range(len(clients)), key=lambda row: -len(sizes[row]))
    drawn = [_drawn(work, spans[row], sum(sizes[row]), rngs[row]) for row in order]
    parameters, lr = network.layout.parameters, work.lr(round)
    begun = starts.expand(len(order), -1) if starts.dim() == 1 else starts[order]
    active, buffers = begun[:, parameters].clone(), begun[:, parameters.stop :]
    second = other if other is None or other.dim() == 1 else other[order]
    sent = _sent(starts if starts.dim() == 1 else begun, second)
    gradients = _gradients(network, work, shards, sent, buffers, counts(shards, clients, work))
    held = None if work.bound is None else _Held.of(work.bound, sent[..., parameters], active)
    state = work.optimizer.start(active)
    steps = groups(drawn, [sizes[row] for row in order], starts.device)
    for count, step in enumerate(steps, start=1):
        parts = zip(*(gradients(active, group) for group in step), strict=True)
        gradient, *square = (_gathered(step, each) for each in parts)
        busy = len(gradient)
        weights, carried = active[:busy], tuple(each[:busy] for each in state)
        before = None if held is None else weights.clone()
        take_step(work, weights, carried, Step(gradient, lr, count, *square), mask)
        if held is not None and before is not None and not held.step(weights, before):
            break
    trained = torch.empty_like(begun)
    trained[order] = torch.cat([active, buffers], dim=1)
    if held is not None:
        for row, taken in zip(order, held.taken.flatten().tolist(), strict=True):
            sizes[row] = sizes[row][:taken]
    return Trained(trained, [sum(each) for each in sizes])


def _drawn(work: LocalWork, span: range, samples: int, rng: np.random.Generator) -> Indices:
    """Return the numbers of the records that a client takes one after another, [samples]."""
    return work.order(len(span), rng)[:samples] + span.start


def _require_deterministic(network: Network) -> None:
    if network.stochastic:
        raise Refused(
            "The model draws random numbers in training, which each client draws by itself: it "
            "cannot be trained as one batch of clients. Set engine.mode=workers."
        )


def _sent(starts: Tensor, other: Tensor | None) -> Tensor:
    """Return what the server sent: [m, d] for all clients, or [k, m, d]."""
    if other is None:
        return starts[..., None, :]
    most = max(starts, other, key=Tensor.dim)
    return torch.stack([starts.expand_as(most), other.expand_as(most)], dim=-2)


@dataclass(frozen=True, slots=True)
class _Held:
    """Keeps the rows of a cohort within its bound, and those that have ended where they are."""

    bound: Ball
    sent: Tensor
    """Parameters of the models that the server sent, [m, p] for all clients or [k, m, p]."""
    going: Tensor
    """Which rows go on, [k, 1]."""
    taken: Tensor
    """Steps that each row has taken, [k, 1]."""

    @classmethod
    def of(cls, bound: Ball, sent: Tensor, weights: Tensor) -> Self:
        """Begin with all rows of ``weights`` [k, p] at work."""
        going = torch.ones_like(weights[:, :1], dtype=torch.bool)
        return cls(bound, sent, going, torch.zeros_like(going, dtype=torch.int64))

    def step(self, weights: Tensor, before: Tensor) -> bool:
        """Bound the first rows, ``weights`` [g, p], after a step; return whether any goes on.

        Rows that had ended become ``before`` again.
        """
        going = self.going[: len(weights)]
        sent = self.sent if self.sent.dim() == 2 else self.sent[: len(weights)]
        self.taken[: len(weights)] += going
        self.bound.project(weights, sent[..., 0, :])
        weights.copy_(torch.where(going, weights, before))
        going &= ~self.bound.left(weights, sent)
        return bool(going.any())


def _gathered(step: Sequence[Group], parts: Sequence[Tensor]) -> Tensor:
    """Put the rows of all groups of a step into the order of the clients."""
    if len(step) == 1:
        return parts[0]
    gathered = parts[0].new_empty(sum(map(len, parts)), parts[0].shape[1])
    for group, each in zip(step, parts, strict=True):
        gathered[group.clients] = each
    return gathered


def _gradients(
    network: Network,
    work: LocalWork,
    shards: Shards,
    sent: Tensor,
    buffers: Tensor,
    counted: Tensor | None,
) -> Callable[[Tensor, Group], tuple[Tensor, ...]]:
    """Return the function from all parameters [k, p] to the gradients [g, p] of a group.

    The mean of the single records' squared gradients, [g, p], follows if the optimizer takes it;
    both are weighted by ``counted`` where it is given.
    """
    records = shards.records
    one_each = sent.dim() == 3

    losses = of_many(work.objective, network, one_each)

    def gradients(active: Tensor, group: Group) -> tuple[Tensor, ...]:
        flat, shape = group.records.flatten(), group.records.shape
        images = records.inputs.index_select(0, flat).view(*shape, *records.inputs.shape[1:])
        labels = records.labels.index_select(0, flat).view(*shape, *records.labels.shape[1:])
        models = sent[group.clients] if one_each else sent
        share = group.weights
        if counted is not None:
            share = shares(torch.where(share > 0, counted[group.records], 0.0))
        if work.optimizer.squares:
            each = active[group.clients], buffers[group.clients]
            parts = images, labels, share.to(active.dtype), models
            return moments(work.objective, network, *each, *parts)
        leaf = active[group.clients].requires_grad_()
        weights = torch.cat([leaf, buffers[group.clients]], 1) if buffers.shape[1] else leaf
        # The rows are independent: the gradient of the sum holds each row's own.
        values = losses(weights, images, labels, models)
        # Of a scalar: weights handed to `grad` would load torch's compiler, two seconds and sympy.
        (gradient,) = torch.autograd.grad((values * share.to(values.dtype)).sum(), leaf)
        return (gradient,)

    return gradients
