"""Sums of gradients over a client's records, and of their squares, without a step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Count
from fedunlearn.data import ClientId, Records, Shards
from fedunlearn.local.objectives import CrossEntropy, Objective
from fedunlearn.local.per_record_gradients import moments
from fedunlearn.local.queries import SumForm, miscounted
from fedunlearn.models import FORWARD_BATCH, Network, Vector

COUNT = SumForm((), "float64")
"""The number of a client's records."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient of the summed loss: ``gradient`` ``sum_i grad l_i(w)`` [d], ``count`` records.

    Buffers have none: their part is 0. It is a sum and no mean, so that those of several clients
    add up; whoever compares two clients divides by their records.
    """

    objective: Objective = field(default_factory=CrossEntropy)
    """Whose gradient it is."""

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what the gradient is."""
        return {"gradient": SumForm((network.layout.size,), "float32"), "count": COUNT}

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return ``gradient`` [k, d] and ``count`` [k]."""
        total = _of_each(self._of_one, network, weights, shards, clients)
        return {"gradient": total, "count": _counts(shards, clients)}

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that it is no gradient over ``records`` records, or nothing."""
        return miscounted(sums["count"], records)

    def _of_one(self, network: Network, weights: Vector, records: Records) -> Vector:
        total = torch.zeros_like(weights)
        for batch in _split(records, FORWARD_BATCH):
            total += batch_gradient(self.objective, network, weights, batch)
        return total


@dataclass(frozen=True, slots=True)
class SquaredGradients:
    """Squared gradients, coordinate by coordinate: ``square`` ``sum_b (grad L_b(w))^2``, [d].

    ``count`` is the client's records. L_b is the mean loss of batch b, of ``batch_size`` records in
    the order in which the client holds them. With 1 it is the empirical Fisher information,
    diagonal, times the records.
    """

    objective: Objective = field(default_factory=CrossEntropy)
    """Whose gradients are squared."""
    batch_size: Count = 1
    """Records whose mean gradient is squared; 1: every record's own."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def squares(self) -> bool:
        """Whether it takes the gradients of single records, which not every net has."""
        return self.batch_size == 1

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what the squares are."""
        return {"square": SumForm((network.layout.size,), "float32"), "count": COUNT}

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return ``square`` [k, d] and ``count`` [k]."""
        of_one = self._of_records if self.squares else self._of_batches
        total = _of_each(of_one, network, weights, shards, clients)
        return {"square": total, "count": _counts(shards, clients)}

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that these are no squares, or nothing."""
        if bool((sums["square"] < 0).any()):
            return "some of its squares are below 0"
        return miscounted(sums["count"], records)

    def _of_records(self, network: Network, weights: Vector, records: Records) -> Vector:
        total, parameters = torch.zeros_like(weights), network.layout.parameters
        trained, buffers = weights[None, parameters], weights[None, parameters.stop :]
        for batch in _split(records, FORWARD_BATCH):
            inputs = network.arranged(batch.inputs)[None]
            one = torch.ones(1, len(batch), device=weights.device)
            where = trained, buffers, inputs, batch.labels[None], one, weights[None]
            total[parameters] += moments(self.objective, network, *where)[1][0]
        return total

    def _of_batches(self, network: Network, weights: Vector, records: Records) -> Vector:
        total = torch.zeros_like(weights)
        for batch in _split(records, self.batch_size):
            gradient = batch_gradient(self.objective, network, weights, batch)
            total += (gradient / len(batch)).square_()
        return total


def batch_gradient(
    objective: Objective, network: Network, weights: Vector, records: Records
) -> Vector:
    """Return the gradient [d] of the summed loss of one batch; 0 for buffers."""
    leaves = network.leaves(weights)
    inputs = network.arranged(records.inputs)
    losses = objective(network, leaves.whole, inputs, records.labels, weights[None])
    gradient: Vector = leaves.gradient(losses.sum()).clone()
    gradient[network.layout.parameters.stop :] = 0
    return gradient


def _split(records: Records, size: int) -> Iterator[Records]:
    inputs, labels = torch.split(records.inputs, size), torch.split(records.labels, size)
    return (Records(*part) for part in zip(inputs, labels, strict=True))


def _counts(shards: Shards, clients: Sequence[ClientId]) -> Tensor:
    """Return how many records each client holds, [k] float64."""
    return torch.tensor([len(shards.span(client)) for client in clients], dtype=torch.float64)


def _of_each(
    of_one: Callable[[Network, Vector, Records], Vector],
    network: Network,
    weights: Vector,
    shards: Shards,
    clients: Sequence[ClientId],
) -> Tensor:
    """Return what ``of_one`` makes of each client's records, [k, d]."""
    return torch.stack([of_one(network, weights, shards[client]) for client in clients])
