"""What unlearning costs: facts are recorded, totals are derived."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from fedunlearn.data import ClientId

Phase = Literal["train", "unlearn", "recover"]
"""What a round belongs to."""

Clock = Callable[[], float]
"""Tells seconds that only ever grow."""

SERVER_ID: ClientId = -1
"""Stands in a charge's ``client`` for work that the server did itself."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened: ``round`` counts from 1 within its phase."""

    phase: Phase
    request: int
    """The latest request, from 1; 0 before the first."""
    round: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What one client cost in one round."""

    moment: Moment
    client: ClientId
    bytes_down: int
    """Model bytes sent to the client."""
    bytes_up: int
    """Model bytes that it sent back."""
    samples: int
    """Records processed: each record counts once an epoch."""
    seconds: float
    """Time that the client worked."""
    records: int
    """Records that it had to train on."""


@dataclass(slots=True)
class Ledger:
    """The list of charges, and the moment to which the next ones belong."""

    moment: Moment = Moment("train", 0, 1)
    charges: list[Charge] = field(default_factory=list)

    def charge(
        self,
        client: ClientId,
        *,
        down: int = 0,
        up: int = 0,
        samples: int,
        seconds: float,
        records: int,
    ) -> None:
        """Record what ``client`` cost at the present moment."""
        self.charges.append(Charge(self.moment, client, down, up, samples, seconds, records))

    def of(self, request: int, phases: Iterable[Phase] = ("unlearn", "recover")) -> "Ledger":
        """Return the charges of one request's phases."""
        wanted = set(phases)
        kept = [
            charge
            for charge in self.charges
            if charge.moment.request == request and charge.moment.phase in wanted
        ]
        return Ledger(self.moment, kept)

    def __iter__(self) -> Iterator[Charge]:
        """Go through the charges in the order in which they were made."""
        return iter(self.charges)

    @property
    def bytes_down(self) -> int:
        """Bytes sent to clients."""
        return sum(charge.bytes_down for charge in self.charges)

    @property
    def bytes_up(self) -> int:
        """Bytes received from clients."""
        return sum(charge.bytes_up for charge in self.charges)

    @property
    def messages(self) -> int:
        """Models sent to clients and received from them."""
        return sum((c.bytes_down > 0) + (c.bytes_up > 0) for c in self.charges)

    @property
    def samples(self) -> int:
        """Records processed, by clients and by the server."""
        return sum(charge.samples for charge in self.charges)

    @property
    def seconds(self) -> float:
        """Working time, added up over clients and the server."""
        return sum(charge.seconds for charge in self.charges)

    @property
    def client_epochs(self) -> float:
        """The client epochs ``sum samples_k / n_k``: one is a pass over a client's own n_k records.

        Work of the server counts 0.
        """
        worked = (c for c in self.charges if c.client != SERVER_ID and c.samples)
        return sum(charge.samples / charge.records for charge in worked)
