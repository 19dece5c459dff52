"""Local training: some steps of an optimizer on the records of one client."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedunlearn.local.class_weights import shares
from fedunlearn.local.mask import Mask
from fedunlearn.local.optimizers import State, Step
from fedunlearn.local.per_record_gradients import moments
from fedunlearn.local.trained import Trained
from fedunlearn.local.work import LocalWork
from fedunlearn.models import Net, Network, Vector, lengths

Gradients = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
"""From inputs, labels and shares of a batch's records to what `Slopes` returns for them."""


@dataclass(frozen=True, slots=True)
class Slopes:
    """The gradients of one client's batches, by whichever thread asks for them."""

    network: Network
    net: Net
    """The network in training."""
    work: LocalWork
    memory: Vector
    """The client's weights [d], which change from step to step."""
    sent: Tensor
    """Models that the server sent, [m, d]."""

    def __call__(
        self, inputs: Tensor, targets: Tensor, share: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``sum_i s_i g_i`` [p] of n records, and ``sum_i s_i g_i^2`` if work asks for it.

        ``share`` [n] holds the s_i; None: 1/n each. A thread's next call overwrites what it got.
        """
        parameters = self.network.layout.parameters
        if self.work.optimizer.squares:
            if share is None:
                share = self.memory.new_full((len(targets),), 1 / len(targets))
            weights, buffers = self.memory[parameters], self.memory[parameters.stop :]
            one = (weights[None], buffers[None], inputs[None], targets[None], share[None])
            gradient, square = moments(self.work.objective, self.net, *one, self.sent)
            return gradient[0], square[0]
        leaves = self.network.leaves_on(self.memory)
        batch = self.network.arranged(inputs), targets
        losses = self.work.objective(self.net, leaves.whole, *batch, self.sent)
        loss = losses.mean() if share is None else losses @ share
        return leaves.gradient(loss)[parameters], None


def train_locally(
    network: Network,
    start: Vector,
    images: Tensor,
    labels: Tensor,
    work: LocalWork,
    round: int,
    rng: np.random.Generator,
    other: Vector | None = None,
    mask: Mask | None = None,
    divided: Callable[[Slopes], Gradients] | None = None,
) -> Trained[int]:
    """Train from ``start`` [d] on one client's records.

    ``images`` is [n, *shape], ``labels`` [n] (or what the objective takes in their place);
    ``round`` sets the learning rate, ``rng`` the order of the records; ``other`` [d] is a second
    model for objectives and bounds that compare with it. Buffers stay as they came, and parameters
    as far as ``mask`` says. ``divided`` makes of the gradients of whole batches those that are
    computed in parts.
    """
    parameters, lr = network.layout.parameters, work.lr(round)
    sent = start[None] if other is None else torch.stack([start, other])
    leaves = network.leaves(start)
    weights = leaves.memory[parameters]
    state = work.optimizer.start(weights)
    images, counts = work.shown(images, rng), work.counts(labels)
    sizes = work.taken(len(labels), rng)
    order = torch.from_numpy(work.order(len(labels), rng)[: sum(sizes)]).to(labels.device)
    net = network.in_training(rng)  # a stochastic net draws by it after the order of records
    slopes = Slopes(network, net, work, leaves.memory, sent)
    gradients = slopes if divided is None else divided(slopes)
    processed = 0
    for count, rows in enumerate(torch.split(order, sizes), start=1):
        inputs, targets = images.index_select(0, rows), labels.index_select(0, rows)
        share = None if counts is None else shares(counts[rows]).to(weights.dtype)
        gradient, square = gradients(inputs, targets, share)
        take_step(work, weights, state, Step(gradient, lr, count, square), mask)
        processed += len(rows)
        if work.bound is not None:
            work.bound.project(weights, sent[0, parameters])
            if work.bound.left(weights, sent[:, parameters]):
                break
    return Trained(leaves.memory.clone(), processed)


def take_step(work: LocalWork, weights: Tensor, state: State, now: Step, mask: Mask | None) -> None:
    """Change ``weights`` [..., p] and ``state`` by a step, clipped, as far as ``mask`` lets it."""
    if mask is None:
        clip = now._replace(gradient=clipped(now.gradient, work.clip_norm))
        work.optimizer.step(weights, state, clip)
        return
    before = weights.clone()
    felt = clipped(mask.felt(now.gradient), work.clip_norm)
    work.optimizer.step(weights, state, now._replace(gradient=felt))
    mask.limit(weights, before)


def clipped(gradients: Tensor, longest: float | None) -> Tensor:
    """Shorten each row of ``gradients`` [..., d] to ``longest``, as torch's clip_grad_norm_."""
    if longest is None:
        return gradients
    return gradients * (longest / (lengths(gradients) + 1e-6)).clamp_max(1)
