"""The sums over a client's records of which ridge regression onto the classes is made.

    A = sum_i x_i x_i^T,    B = sum_i x_i y_i^T

with x_i the features of a record and a 1 for the bias, y_i one-hot. They add up over records, and
leave again by subtraction. All of it is float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fedunlearn.data import ClientId, Shards
from fedunlearn.local.queries import SumForm
from fedunlearn.models import FORWARD_BATCH, Network, Vector

ROUNDING = 1e-9
"""How far sums may be from what they should be, next to the greatest of them: float64 is rounded at
1e-16, and a sum over 10^9 records in whatever order stays far below."""


@dataclass(frozen=True, slots=True)
class RidgeSums:
    """A and B side by side: ``sums`` [f + 1, f + 1 + classes] float64."""

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what the sums are; raises `Refused` unless the last layer is linear."""
        return {"sums": SumForm(network.head.sums, "float64")}

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return ``sums`` [k, f + 1, f + 1 + classes] on the features that ``weights`` [d] make."""
        each = [(shards[client].inputs, shards[client].labels) for client in clients]
        return {"sums": torch.stack([sums(network, weights, *records) for records in each])}

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that these are no sums over ``records`` records, or nothing."""
        return fault(sums["sums"], records)


def sums(network: Network, weights: Vector, images: Tensor, labels: Tensor) -> Tensor:
    """Return A and B side by side, [f + 1, f + 1 + classes] float64.

    ``images`` is [n, *shape], ``labels`` [n], ``weights`` [d] the model that makes the features.
    """
    total = torch.zeros(network.head.sums, dtype=torch.float64, device=weights.device)
    classes = network.head.bias.size
    with torch.no_grad():
        for seen, wanted in zip(
            torch.split(images, FORWARD_BATCH), torch.split(labels, FORWARD_BATCH), strict=True
        ):
            features = network.features(weights, network.arranged(seen)).double()
            inputs = functional.pad(features, (0, 1), value=1.0)
            total += inputs.T @ torch.cat([inputs, functional.one_hot(wanted, classes).double()], 1)
    return total


def fault(total: Tensor, records: int) -> str:
    """Return what shows that ``total`` is no sum over ``records`` records, or nothing.

    Sums of ``z z^T`` over ``z = (x, 1, y)`` are symmetric and positive semidefinite; y is one-hot,
    so that of its own block the diagonal is the number of records of each class, and the rest 0.
    ``total`` is [f + 1, f + 1 + classes] float64, finite, of squares that are as well.
    """
    size = len(total)
    inner, outer = total[:, :size], total[:, size:]
    counts = outer[-1]
    scale = float(inner.abs().max())
    near = ROUNDING * scale
    if not torch.allclose(inner, inner.T, rtol=0, atol=near):
        return "x x^T is not symmetric"
    if not torch.equal(counts, counts.round().clamp(min=0)):
        return "its counts of classes are no whole numbers from 0"
    if not inner[-1, -1] == counts.sum() == records:
        return f"they count {inner[-1, -1]:g} records, and num-examples is {records}"
    if not torch.allclose(outer.sum(1), inner[:, -1], rtol=0, atol=near):
        return "its classes do not sum to all of its records"
    both = torch.cat([torch.cat([inner, outer], 1), torch.cat([outer.T, counts.diag()], 1)])
    raised = both + near * len(both) * torch.eye(len(both), dtype=both.dtype)
    if torch.linalg.cholesky_ex(raised).info:
        return "they are not positive semidefinite"
    return ""
