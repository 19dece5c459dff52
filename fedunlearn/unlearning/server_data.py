"""Unlabelled records on the server, and what a strategy may do with them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fedunlearn import randomness
from fedunlearn.checks import Refused
from fedunlearn.data import Records
from fedunlearn.local import LocalWork, train_locally
from fedunlearn.models import Network, Vector, logits
from fedunlearn.randomness import Stream
from fedunlearn.unlearning.ledger import SERVER_ID, Clock, Ledger
from fedunlearn.unlearning.verifier import ServerVerifier, VerificationSets


class ServerData(Protocol):
    """Unlabelled records on the server, as strategies use them."""

    @property
    def inputs(self) -> Tensor:
        """[n, *shape]."""

    def distil(self, teacher: Vector, student: Vector, work: LocalWork, *, round: int) -> Vector:
        """Train ``student`` [d] towards the logits of ``teacher`` [d] and return it.

        ``work.objective`` gets the teacher's logits in place of labels. The server is charged
        for the records of the student's epochs and for the teacher's one pass.
        """


@dataclass(frozen=True)
class ProxyData:
    """Records that the server owns; no client trained on them.

    Strategies see them without labels; a server that verifies has labelled them for its own tests.
    """

    network: Network
    inputs: Tensor
    """[n, *shape], on the device that is to train."""
    ledger: Ledger
    seed: int
    clock: Clock = time.perf_counter
    verification: VerificationSets | None = None
    """What the server tests models on; None: nobody handed over a marker."""
    earlier: VerificationSets | None = None
    """The same of those who asked before a request; None: nobody did."""

    def verifier(self, request: int) -> ServerVerifier:
        """Return the test of who asks in a request, from 1; raise `Refused` without a marker."""
        if self.verification is None:
            raise Refused("Nobody handed a marker to the server, so it can verify nothing.")
        sets = self._here(self.verification(request))

        def earlier() -> Mapping[str, Records]:
            return {} if self.earlier is None else self._here(self.earlier(request))

        return ServerVerifier(self.network, sets, self.ledger, self.clock, earlier)

    def _here(self, sets: Mapping[str, Records]) -> dict[str, Records]:
        """Return record sets on the device that is to test."""
        return {name: found.to(self.inputs.device) for name, found in sets.items()}

    def distil(self, teacher: Vector, student: Vector, work: LocalWork, *, round: int) -> Vector:
        """Train on the records and charge the server; see `ServerData.distil`."""
        started = self.clock()
        teacher, student = teacher.to(self.inputs.device), student.to(self.inputs.device)
        taught = logits(self.network, teacher, [self.inputs])
        rng = randomness.rng(self.seed, Stream.SERVER_DATA, round)
        trained = train_locally(self.network, student, self.inputs, taught, work, round, rng)
        weights = trained.weights.cpu()
        samples = work.samples(len(self.inputs)) + len(self.inputs)
        seconds, records = self.clock() - started, len(self.inputs)
        self.ledger.charge(SERVER_ID, samples=samples, seconds=seconds, records=records)
        return weights
