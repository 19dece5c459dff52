"""Local training: some steps of an optimizer on the records of one client."""

import numpy as np
import torch
from torch import Tensor

from fedunlearn.local.class_weights import shares
from fedunlearn.local.optimizers import Step
from fedunlearn.local.per_record_gradients import moments
from fedunlearn.local.trained import Trained
from fedunlearn.local.work import LocalWork
from fedunlearn.models import Network, Vector, lengths


def train_locally(
    network: Network,
    start: Vector,
    images: Tensor,
    labels: Tensor,
    work: LocalWork,
    round: int,
    rng: np.random.Generator,
    other: Vector | None = None,
) -> Trained[int]:
    """Train from ``start`` [d] on one client's records.

    ``images`` is [n, *shape], ``labels`` [n] (or what the objective takes in their place);
    ``round`` sets the learning rate, ``rng`` the order of the records; ``other`` [d] is a second
    model for objectives and bounds that compare with it. Buffers stay as they came.
    """
    parameters, lr = network.layout.parameters, work.lr(round)
    sent = start[None] if other is None else torch.stack([start, other])
    leaves = network.leaves(start)
    weights, buffers = leaves.memory[parameters], leaves.memory[parameters.stop :]
    state = work.optimizer.start(weights)
    images, counts = work.shown(images, rng), work.counts(labels)
    sizes = work.taken(len(labels), rng)
    order = torch.from_numpy(work.order(len(labels), rng)[: sum(sizes)]).to(labels.device)
    net = network.in_training(rng)  # a stochastic net draws by it after the order of records
    processed = 0
    for count, rows in enumerate(torch.split(order, sizes), start=1):
        inputs, targets = images.index_select(0, rows), labels.index_select(0, rows)
        square = None
        share = None if counts is None else shares(counts[rows]).to(weights.dtype)
        if work.optimizer.squares:
            each = weights.new_full((len(rows),), 1 / len(rows)) if share is None else share
            one = (weights[None], buffers[None], inputs[None], targets[None], each[None])
            gradient, square = (each[0] for each in moments(work.objective, net, *one, sent))
        else:
            batch = network.arranged(inputs), targets
            losses = work.objective(net, leaves.whole, *batch, sent)
            loss = losses.mean() if share is None else losses @ share
            gradient = leaves.gradient(loss)[parameters]
        now = Step(clipped(gradient, work.clip_norm), lr, count, square)
        work.optimizer.step(weights, state, now)
        processed += len(rows)
        if work.bound is not None:
            work.bound.project(weights, sent[0, parameters])
            if work.bound.left(weights, sent[1, parameters]):
                break
    return Trained(leaves.memory.clone(), processed)


def clipped(gradients: Tensor, longest: float | None) -> Tensor:
    """Shorten each row of ``gradients`` [..., d] to ``longest``, as torch's clip_grad_norm_."""
    if longest is None:
        return gradients
    return gradients * (longest / (lengths(gradients) + 1e-6)).clamp_max(1)
