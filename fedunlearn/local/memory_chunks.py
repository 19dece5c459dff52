"""A cohort in pieces that fit: how many clients train at once is measured, not guessed."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data import Records, Shards
from fedunlearn.local.cohort import train_cohort
from fedunlearn.local.objectives import CrossEntropy, Objective
from fedunlearn.local.trained import CohortWork, Trained
from fedunlearn.local.work import LocalWork
from fedunlearn.models import Network, Vector
from fedunlearn.randomness import generator
from fedunlearn.threads import pool

log = logging.getLogger(__name__)

CPU_BUDGET = 64 * 2**20
"""Bytes of a piece on a CPU: far beyond its caches a larger batch is slower, not faster."""

CPU_ROWS = 64
"""Clients of a piece on a CPU: so many share a call that more would gain little, and further
threads take further pieces. As it does not depend on their number, neither does any bit."""

GPU_SHARE = 0.8
"""Share of a GPU's free memory that a piece may take; workspaces are not in the estimate."""

VECTORS = 8
"""Rows of [k, d] alive in a step: start, weights and their copy, two moments, two gradients (of
the copy and of the weights), and the answer."""


@dataclass
class ChunkedTrainer:
    """Trains many clients as one batch, or as several where one would not fit."""

    network: Network
    shards: Shards
    """On the device that is to train."""
    workers: int = 1
    """Threads that take pieces on a CPU, each with one torch thread."""
    most: dict[str, int] = field(default_factory=dict)
    """Clients of one piece, by their work: measured once, halved when memory runs out."""

    def over(self, shards: Shards) -> "ChunkedTrainer":
        """Return the same on other records, on the same device; what was measured counts on."""
        return self if shards is self.shards else replace(self, shards=shards)

    def train(self, cohort: CohortWork) -> Trained[list[int]]:
        """Return what `cohort.train_cohort` returns, with weights [k, d] in host memory.

        Raises torch.OutOfMemoryError if one client does not fit.
        """
        device = self.shards.records.labels.device
        clients, starts = cohort.clients, cohort.starts
        kind = repr(cohort.work)
        if kind not in self.most:
            first = starts.view(-1, starts.shape[-1])[0]
            row = step_bytes(self.network, first, cohort.work, self.shards, one(cohort.other))
            rows = CPU_ROWS if device.type == "cpu" else len(self.shards)
            self.most[kind] = max(1, min(rows, budget(device) // row))
        second = None if cohort.other is None else cohort.other.to(device)
        mask = None if cohort.mask is None else cohort.mask.to(device)
        begun, trained = starts.to(device), starts.new_empty(len(clients), starts.shape[-1])
        processed = [0] * len(clients)
        # Clients of equal length side by side: whoever has finished leaves no gap in a piece.
        order = sorted(range(len(clients)), key=lambda row: -len(self.shards.span(clients[row])))

        def run(rows: Sequence[int]) -> None:
            weights, counts = train_cohort(
                self.network,
                begun if begun.dim() == 1 else begun[rows],
                self.shards,
                [clients[row] for row in rows],
                cohort.work,
                cohort.round,
                [generator(cohort.seeds[row]) for row in rows],
                second if second is None or second.dim() == 1 else second[rows],
                mask,
            )
            trained[rows] = weights.to(trained.device)
            for row, count in zip(rows, counts, strict=True):
                processed[row] = count

        # A GPU takes one piece after another: each fills its memory.
        workers = self.workers if device.type == "cpu" else 1
        self.most[kind] = in_pieces(run, order, self.most[kind], workers)
        return Trained(trained, processed)


def one(other: Tensor | None) -> Vector | None:
    """Return the second model [d] of one client."""
    return other if other is None or other.dim() == 1 else other[0]


def in_pieces(
    run: Callable[[Sequence[int]], None], rows: Sequence[int], most: int, workers: int = 1
) -> int:
    """Call ``run`` for all ``rows``, at most ``most`` at a time; return how many do fit.

    Pieces are as equal as can be. With one worker, a piece for which memory runs out is tried
    again as two halves, and so are those after it. Raises torch.OutOfMemoryError if a single row
    does not fit, or any piece on one of several workers.
    """
    if workers > 1 and len(rows) > most:
        pieces = [piece.tolist() for piece in np.array_split(rows, -(-len(rows) // most))]
        with pool(workers) as threads:
            list(threads.map(run, pieces))
        return most
    done = 0
    while done < len(rows):
        left = len(rows) - done
        size = -(-left // -(-left // most))
        try:
            run(rows[done : done + size])
            done += size
            continue
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            most = size // 2
        # Only here, after the exception, does nothing hold the tensors of the attempt any more.
        torch.cuda.empty_cache()
        log.warning("%d clients at once do not fit into memory; trying %d.", size, most)
    return most


def budget(device: torch.device) -> int:
    """Return how many bytes a piece may take on ``device``."""
    if device.type != "cuda":
        return CPU_BUDGET
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(GPU_SHARE * (free + unused))


def step_bytes(
    network: Network, start: Vector, work: LocalWork, shards: Shards, other: Vector | None = None
) -> int:
    """Measure what one client takes in a step: bytes that autograd keeps, and vectors [d].

    What is kept for the backward pass is counted twice, since that pass makes gradients of the
    same shapes.
    """
    longest = max(shards, key=len)
    batch = Records(longest.inputs[: work.batch_size].clone(), longest.labels[: work.batch_size])
    return _bytes(network, start, work.objective, batch, other)


def fitting_clients(network: Network, records: int = 32) -> int:
    """Return how many clients a piece on a CPU has room for, each with a batch of ``records``."""
    with torch.random.fork_rng(devices=[]):
        inputs = network.shape.drawn(records)
    drawn = Records(inputs, torch.arange(records) % network.classes)
    row = _bytes(network, network.initial(0), CrossEntropy(), drawn)
    return max(1, min(CPU_ROWS, CPU_BUDGET // row))


def _bytes(
    network: Network,
    start: Vector,
    objective: Objective,
    batch: Records,
    other: Vector | None = None,
) -> int:
    """See `step_bytes`, of which this is the step on ``batch``."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = start.to(batch.labels.device)
    sent = start[None] if other is None else torch.stack([start, other.to(start.device)])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        leaf = start.clone().requires_grad_()
        alive = objective(network, leaf, batch.inputs, batch.labels, sent)
    del alive
    return 2 * sum(kept.values()) + VECTORS * start.nbytes
