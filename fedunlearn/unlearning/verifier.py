"""What a server can honestly test by itself of a model that is to have forgotten."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fedunlearn.data import Records
from fedunlearn.models import Network, Vector, logits
from fedunlearn.unlearning.ledger import SERVER_ID, Clock, Ledger

LABELLED = "labelled"
"""The name of the server's own records among `VerificationSets`."""

VerificationSets = Callable[[int], Mapping[str, Records]]
"""Returns the records on which the server tests models of a request, from 1: its own as `LABELLED`,
and for each who asks those with its trigger, labelled with what the trigger stands for."""


class Verifier(Protocol):
    """Tests models on the server's records: those who ask handed over their triggers.

    It knows no retrained model, no record of a client, and none on which a run is evaluated.
    """

    def attack_success(self, weights: Vector) -> float:
        """Return how often a trigger still works on a model [d], of those who ask the largest.

        It is a share in [0, 1] of the server's records of other classes; low is forgotten.
        """

    def accuracy(self, weights: Vector) -> float:
        """Return the accuracy of a model [d] on the server's labelled records, in [0, 1]."""


@dataclass(frozen=True)
class ServerVerifier:
    """Tests on labelled records of the server (see `Verifier`), which is charged for each pass."""

    network: Network
    sets: Mapping[str, Records]
    """What `VerificationSets` return, on the device that is to test."""
    ledger: Ledger
    clock: Clock

    def attack_success(self, weights: Vector) -> float:
        """See `Verifier.attack_success`."""
        return max(self._right(weights, name) for name in self.sets if name != LABELLED)

    def accuracy(self, weights: Vector) -> float:
        """See `Verifier.accuracy`."""
        return self._right(weights, LABELLED)

    def _right(self, weights: Vector, name: str) -> float:
        """Return the share of a set's records whose label is predicted; of nan none is."""
        started, records = self.clock(), self.sets[name]
        found = logits(self.network, weights.to(records.inputs.device), [records.inputs])
        right = _predicted(found, records.labels)
        seconds, count = self.clock() - started, len(records)
        self.ledger.charge(SERVER_ID, samples=count, seconds=seconds, records=count)
        return right


def _predicted(found: Tensor, labels: Tensor) -> float:
    right = (found.argmax(dim=1) == labels) & ~found.isnan().any(dim=1)
    return float(right.double().mean())
