"""What a client can be asked besides training: sums over its records, and nothing of one record.

Sums over clients are sums over all of their records, so secure aggregation could carry them. A
client with one record still tells that record's share: who must hide it has to add noise, or sums.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.data import ClientId, Records, Shards
from fedunlearn.local.objectives import cross_entropies
from fedunlearn.models import FORWARD_BATCH, Network, Vector


class SumForm(NamedTuple):
    """What a sum is."""

    shape: tuple[int, ...]
    dtype: str
    """As torch names it, such as ``float64``."""


class Query(Protocol):
    """A question that clients answer with sums over their records: a frozen dataclass."""

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what each sum of one client is, by name; no size depends on its records.

        Raises `Refused` for a net of which it cannot be asked.
        """

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return the sums of k ``clients`` on the model ``weights`` [d], each [k, *shape]."""

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that ``sums`` are none over ``records`` records, or nothing."""


class Batch(NamedTuple):
    """Some records of several clients."""

    owners: Tensor
    """The place of each record's client among those asked, [n]."""
    records: Records


def batches(shards: Shards, clients: Sequence[ClientId]) -> Iterator[Batch]:
    """Go through the records of ``clients``, `FORWARD_BATCH` at a time."""
    device = shards.records.labels.device
    spans = [shards.span(client) for client in clients]
    sizes = torch.tensor([len(span) for span in spans])
    owners = torch.repeat_interleave(torch.arange(len(spans)), sizes).to(device)
    rows = torch.cat([torch.arange(span.start, span.stop) for span in spans]).to(device)
    for some, whose in zip(
        torch.split(rows, FORWARD_BATCH), torch.split(owners, FORWARD_BATCH), strict=True
    ):
        yield Batch(whose, shards.records.take(some))


def _by_class(network: Network, batch: Batch) -> Tensor:
    """Return the row of each record in sums [k, classes, ...] with the first two sides joined."""
    return batch.owners * network.classes + batch.records.labels


def _added(
    network: Network,
    weights: Vector,
    shards: Shards,
    clients: Sequence[ClientId],
    parts: Mapping[str, tuple[int, ...]],
    of: Callable[[Batch], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Add up ``parts`` by client and class, [k, classes, *part] float64.

    ``of`` returns what each record of a batch adds to them, [n, *part].
    """
    rows, device = len(clients) * network.classes, weights.device
    total = {
        name: torch.zeros(rows, *shape, dtype=torch.float64, device=device)
        for name, shape in parts.items()
    }
    with torch.no_grad():
        for batch in batches(shards, clients):
            for name, each in of(batch).items():
                total[name].index_add_(0, _by_class(network, batch), each.double())
    lead = (len(clients), network.classes)
    return {name: each.view(*lead, *each.shape[1:]) for name, each in total.items()}


def miscounted(counts: Tensor, records: int) -> str:
    """Return what shows that ``counts`` do not count ``records`` records, or nothing."""
    if not torch.equal(counts, counts.round().clamp(min=0)):
        return "its counts are no whole numbers from 0"
    if counts.sum() != records:
        return f"they count {float(counts.sum()):g} records, and num-examples is {records}"
    return ""


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """How many records of each class a client holds: ``count`` [classes]."""

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what the counts are."""
        return {"count": SumForm((network.classes,), "float64")}

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return ``count`` [k, classes]; the model does not matter."""

        def one(batch: Batch) -> dict[str, Tensor]:
            return {"count": torch.ones_like(batch.owners)}

        return _added(network, weights, shards, clients, {"count": ()}, one)

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that these are no counts of ``records`` records, or nothing."""
        return miscounted(sums["count"], records)


@dataclass(frozen=True, slots=True)
class LogitSums:
    """By class c: ``count`` n_c, and ``logits``, the sum of f(x_i) over y_i = c.

    They are [classes] and [classes, classes]; ``logits[c] / count[c]`` is what the model says of a
    client's records of class c on average.
    """

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what counts and sums are."""
        classes = network.classes
        return {
            "count": SumForm((classes,), "float64"),
            "logits": SumForm((classes, classes), "float64"),
        }

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return ``count`` [k, classes] and ``logits`` [k, classes, classes]."""

        def of(batch: Batch) -> dict[str, Tensor]:
            logits = network.arranging(weights, batch.records.inputs)
            return {"count": torch.ones_like(batch.owners), "logits": logits}

        parts = {"count": (), "logits": (network.classes,)}
        return _added(network, weights, shards, clients, parts, of)

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that these are no sums over ``records`` records, or nothing."""
        return miscounted(sums["count"], records)


@dataclass(frozen=True, slots=True)
class FeatureMoments:
    """Moments of what enters the last layer, by class c.

    ``count`` n_c [classes], ``sum`` of x_i over y_i = c [classes, f], ``square`` of ``|x_i|^2``
    [classes]. Sums over classes are the moments of all records.
    """

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what the moments are; raises `Refused` unless the last layer is linear."""
        classes, features = network.head.weight.shape
        return {
            "count": SumForm((classes,), "float64"),
            "sum": SumForm((classes, features), "float64"),
            "square": SumForm((classes,), "float64"),
        }

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return ``count`` [k, classes], ``sum`` [k, classes, f] and ``square`` [k, classes]."""

        def of(batch: Batch) -> dict[str, Tensor]:
            features = network.features(weights, network.arranged(batch.records.inputs)).double()
            square = features.square().sum(1)
            return {"count": torch.ones_like(batch.owners), "sum": features, "square": square}

        parts = {"count": (), "sum": (network.head.weight.shape[1],), "square": ()}
        return _added(network, weights, shards, clients, parts, of)

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that these are no moments of ``records`` records, or nothing."""
        counts, total, square = sums["count"], sums["sum"], sums["square"]
        least = total.square().sum(-1) / counts.clamp_min(1)  # by Cauchy and Schwarz
        if bool((square < least * (1 - 1e-9)).any()):
            return "its squares are less than those of its sums"
        return miscounted(counts, records)


SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": cross_entropies,
    "confidence": lambda logits, labels: (-cross_entropies(logits, labels)).exp(),
    "entropy": lambda logits, labels: -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1),
    "correct": lambda logits, labels: (logits.argmax(-1) == labels).to(logits.dtype),
}
"""What a model says of each record, [n]: from its logits [n, classes] and labels [n]."""


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """How many records a client holds whose score falls between two edges.

    ``count`` [edges + 1]: below the first edge, from each edge to below the next, from the last on.
    """

    score: str = "confidence"
    """What is counted: loss, confidence (of the true class), entropy or correct."""
    edges: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Where a bin ends and the next begins, ascending."""

    def __post_init__(self) -> None:
        """Turn a list into a tuple; raise `Refused` for other scores and for edges out of order."""
        checks.fields(self)
        object.__setattr__(self, "edges", tuple(self.edges))
        checks.member("ScoreHistogram.score", self.score, SCORES)
        if not self.edges or list(self.edges) != sorted(set(self.edges)):
            raise checks.field_refused(self, "edges", " must be numbers, ascending, each once.")

    def forms(self, network: Network) -> Mapping[str, SumForm]:
        """Return what the counts are."""
        return {"count": SumForm((len(self.edges) + 1,), "float64")}

    def sums(
        self, network: Network, weights: Vector, shards: Shards, clients: Sequence[ClientId]
    ) -> Mapping[str, Tensor]:
        """Return ``count`` [k, edges + 1]."""
        bins, edges = len(self.edges) + 1, torch.tensor(self.edges, device=weights.device)
        total = torch.zeros(len(clients) * bins, dtype=torch.float64, device=weights.device)
        with torch.no_grad():
            for owners, records in batches(shards, clients):
                logits = network.arranging(weights, records.inputs)
                scores = SCORES[self.score](logits, records.labels)
                place = owners * bins + torch.bucketize(scores, edges, right=True)
                total.index_add_(0, place, torch.ones_like(scores, dtype=torch.float64))
        return {"count": total.view(len(clients), bins)}

    def fault(self, sums: Mapping[str, Tensor], records: int) -> str:
        """Return what shows that these are no counts of ``records`` records, or nothing."""
        return miscounted(sums["count"], records)
