"""A round of training on disk, asked in the way of `Round`, read anew each time."""

from collections.abc import Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fedunlearn import sealed_files
from fedunlearn.data import ClientId
from fedunlearn.history.encodings import Encoding
from fedunlearn.history.needs import Needs
from fedunlearn.history.rounds import Round, Updates
from fedunlearn.models import Vector
from fedunlearn.sealed_files import Stamp

UPDATES = "updates."
"""What the names of encoded updates start with."""

BROADCAST = "broadcast"

NOBODY = Updates((), torch.empty(0, 0), torch.empty(0, dtype=torch.int64))


@dataclass(frozen=True, slots=True)
class StoredRound:
    """A round on disk, or on its way there; what it holds itself is small.

    Reading waits until the file is written and raises what writing raised, and `DamagedFile` where
    the file is no longer the one that was opened.
    """

    path: Path
    stamp: Stamp | Future[Stamp]
    """Identifies the verified file; a future until it is written."""
    number: int
    """From 1."""
    cohort_examples: int
    """Records of the whole cohort, also of clients who have left since."""
    encoding: Encoding
    d: int
    """Coordinates of a model."""
    rows: tuple[int, ...]
    """Where in the file the updates of ``clients`` are."""
    clients: tuple[ClientId, ...]
    """Ascending, [k]."""
    examples: tuple[int, ...]
    """Records that each client trained on, [k]."""
    has_updates: bool
    has_model: bool
    held: int
    """Rows in the file."""

    @property
    def verified(self) -> Stamp:
        """The stamp of the written file; waits for it and raises what writing raised."""
        return self.stamp.result() if isinstance(self.stamp, Future) else self.stamp

    def written(self) -> "StoredRound":
        """Wait until the file is written; raises what writing raised."""
        return replace(self, stamp=self.verified)

    @property
    def updates(self) -> Updates:
        """What the cohort sent back, decoded now; all rows of float32 are mapped, not copied."""
        examples = torch.tensor(self.examples, dtype=torch.int64)
        if not self.has_updates:
            return Updates(self.clients, torch.empty(len(self.clients), 0), examples)
        if self.rows == tuple(range(self.held)):
            stored = sealed_files.read(self.path, self.verified, UPDATES)
        else:
            stored = sealed_files.read_rows(self.path, self.verified, UPDATES, self.rows)
        return Updates(self.clients, self.encoding.decode(stored, self.d), examples)

    @property
    def broadcast(self) -> Vector | None:
        """The model that was sent out, [d], where it was kept; mapped, not copied."""
        if not self.has_model:
            return None
        (model,) = sealed_files.read(self.path, self.verified, BROADCAST).values()
        return model

    @property
    def before(self) -> Vector:
        """The model that was sent out, [d]; raises LookupError where it was not kept."""
        return Round(self.number, NOBODY, self.cohort_examples, self.broadcast).before

    def share(self, clients: Set[ClientId]) -> Vector:
        """Return what ``clients`` moved the model by, [d], as `Round.share`; reads their rows."""
        updates = self.only(clients).updates
        return Round(self.number, updates, self.cohort_examples).share(clients)

    def only(self, clients: Set[ClientId]) -> "StoredRound":
        """Show the rows of ``clients`` alone; nothing is read, and the file keeps all."""
        shown = [place for place, client in enumerate(self.clients) if client in clients]
        return replace(
            self,
            rows=at(self.rows, shown),
            clients=at(self.clients, shown),
            examples=at(self.examples, shown),
        )

    def without(self, clients: Set[ClientId]) -> "StoredRound":
        """Hide the rows of ``clients``; nothing is read, and the file keeps all."""
        return self.only(set(self.clients) - clients)

    def reduced(self, needs: Needs) -> "StoredRound":
        """Show only what ``needs`` names."""
        return replace(
            self,
            has_updates=self.has_updates and needs.updates,
            has_model=self.has_model and needs.models,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors shown, as they are stored."""
        updates = self.encoding.nbytes(len(self.clients), self.d) if self.has_updates else 0
        return updates + (4 * self.d if self.has_model else 0)


def at(values: tuple[int, ...], places: Sequence[int]) -> tuple[int, ...]:
    """Return the values at ``places``, in their order."""
    return tuple(values[place] for place in places)
