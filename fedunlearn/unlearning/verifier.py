"""What a server can honestly test by itself of a model that is to have forgotten."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fedunlearn.data import Records
from fedunlearn.models import Network, Vector, logits, predictions
from fedunlearn.unlearning.ledger import SERVER_ID, Clock, Ledger

LABELLED = "labelled"
"""The name of the server's own records among `VerificationSets`."""

VerificationSets = Callable[[int], Mapping[str, Records]]
"""Returns the records on which the server tests models of a request, from 1: its own as `LABELLED`,
and for each who asks those with its trigger, labelled with what the trigger stands for.

Of earlier requests: those of each who asked before and holds none with its trigger any more."""


class Verifier(Protocol):
    """Tests models on the server's records: those who ask handed over their triggers.

    It knows no retrained model, no record of a client, and none on which a run is evaluated.
    """

    def attack_success(self, weights: Vector) -> float:
        """Return how often a trigger still works on a model [d], of those who ask the largest.

        It is a share in [0, 1] of the server's records of other classes; low is forgotten.
        """

    def earlier_attack_success(self, weights: Vector) -> float:
        """Return the same of those who asked before; 0 where nobody did.

        Who holds records with its trigger again does not count.
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
    earlier: Callable[[], Mapping[str, Records]] = dict
    """Returns what they return of earlier requests, on the device that is to test."""

    def attack_success(self, weights: Vector) -> float:
        """See `Verifier.attack_success`."""
        marked = (records for name, records in self.sets.items() if name != LABELLED)
        return max(self._right(weights, records) for records in marked)

    def earlier_attack_success(self, weights: Vector) -> float:
        """See `Verifier.earlier_attack_success`."""
        marked = self.earlier().values()
        return max((self._right(weights, records) for records in marked), default=0.0)

    def accuracy(self, weights: Vector) -> float:
        """See `Verifier.accuracy`."""
        return self._right(weights, self.sets[LABELLED])

    def _right(self, weights: Vector, records: Records) -> float:
        """Return the share of records whose label is predicted; of nan none is."""
        started = self.clock()
        found = logits(self.network, weights.to(records.inputs.device), [records.inputs])
        right = float((predictions(found) == records.labels).double().mean())
        seconds, count = self.clock() - started, len(records)
        self.ledger.charge(SERVER_ID, samples=count, seconds=seconds, records=count)
        return right
