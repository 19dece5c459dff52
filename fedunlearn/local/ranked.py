"""A part of a client's records by how hard a model finds them; the ranks never leave the client."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Share
from fedunlearn.data import ClientId, Records, Shards
from fedunlearn.local.queries import SCORES, SumForm, batches, miscounted
from fedunlearn.models import FORWARD_BATCH, Network, Vector, logits

HARDNESS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "confidence": lambda said, labels: 1 - SCORES["confidence"](said, labels),
    "loss": SCORES["loss"],
    "entropy": SCORES["entropy"],
    "random": lambda said, labels: _hashed(said),
}
"""How hard each record is, [n], from logits [n, classes] and labels [n]: the higher, the more
likely it is known by heart. ``random`` is for comparison: a number that tells nothing of it."""


def _hashed(said: Tensor) -> Tensor:
    """Return a number in [0, 1) for each record, without any order that means something."""
    mixed = (said.double() * 1e6).sum(1).sin() * 43758.5453
    return (mixed - mixed.floor()).to(said.dtype)


@dataclass(frozen=True, slots=True)
class Ranked:
    """The records of a client from share ``first`` to share ``last`` in the order of hardness.

    The easiest come first; of equally hard ones those that the client holds first.
    """

    score: str = "confidence"
    """What tells how hard a record is: confidence (1 - p_y), loss, entropy or random."""
    first: Share = 0.0
    """Share of the records that come before."""
    last: Share = 1.0
    """Share up to which they count."""

    def __post_init__(self) -> None:
        """Raise `Refused` for other scores, and for shares out of order."""
        checks.fields(self)
        checks.member("Ranked.score", self.score, HARDNESS)
        if self.first >= self.last:
            raise checks.field_refused(self, "last", f" must be above first={self.first:g}.")

    def span(self, records: int) -> range:
        """Return which ranks of so many records count, one at least.

        Those of adjoining shares overlap only where there are fewer records than shares.
        """
        first = min(round(self.first * records), records - 1)
        return range(first, max(first + 1, round(self.last * records)))

    def chosen(self, network: Network, weights: Vector, records: Records) -> Records:
        """Return the records that count, in the order in which the client holds them."""
        said = logits(network.arranging, weights, [records.inputs], FORWARD_BATCH)
        order = HARDNESS[self.score](said, records.labels).argsort(stable=True)
        span = self.span(len(records))
        return records.take(order[span.start : span.stop].sort().values)

    def of_clients(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Shards:
        """Return what counts of ``clients`` alone, in this order."""
        return Shards.of([self.chosen(network, weights, shards[client]) for client in clients])


@dataclass(frozen=True)
class Part:
    """A part of records by rank, and the model that ranks them."""

    ranked: Ranked
    model: Vector
    """[d]; it is sent along."""


@dataclass(frozen=True, slots=True)
class HardnessSum:
    """How hard a client's records are: ``total`` [], summed over ``count`` [] records."""

    score: str = "confidence"
    """What tells how hard a record is: confidence (1 - p_y), loss, entropy or random."""

    def __post_init__(self) -> None:
        """Raise `Refused` for other scores."""
        checks.fields(self)
        checks.member("HardnessSum.score", self.score, HARDNESS)

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what the sums are."""
        return {"total": SumForm((), "float64"), "count": SumForm((), "float64")}

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return ``total`` [k] and ``count`` [k]."""
        total = torch.zeros(len(clients), dtype=torch.float64, device=weights.device)
        with torch.no_grad():
            for owners, records in batches(shards, clients):
                said = network.arranging(weights, records.inputs)
                total.index_add_(0, owners, HARDNESS[self.score](said, records.labels).double())
        counts = [len(shards.span(client)) for client in clients]
        return {"total": total, "count": torch.tensor(counts, dtype=torch.float64)}

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that these are no sums over ``records`` records, or nothing."""
        return miscounted(sums["count"], records)
