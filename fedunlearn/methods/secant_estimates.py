"""What a server saw of the curvature of clients, and the updates that it foretells."""

from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history import Updates
from fedunlearn.methods import lbfgs
from fedunlearn.models import Vector, lengths

BYTES = 2**29
"""What one kind of rows takes in memory at most; beyond, all go to an unnamed temporary file."""


class Rows:
    """Vectors [d] by number: those that are read are copied into memory, no others."""

    def __init__(self, d: int) -> None:
        self._nbytes = 4 * d
        self._file = SpooledTemporaryFile(BYTES)  # noqa: SIM115 — `close` closes it

    def write(self, row: int, vector: Vector) -> None:
        """Put ``vector`` [d] float32 in the place of a row."""
        self._file.seek(row * self._nbytes)
        self._file.write(vector.numpy().tobytes())

    def read(self, rows: list[int]) -> Tensor:
        """Return rows, [m, d]."""
        vectors = np.empty((len(rows), self._nbytes // 4), dtype=np.float32)
        for place, row in enumerate(rows):
            self._file.seek(row * self._nbytes)
            vectors[place] = np.frombuffer(self._file.read(self._nbytes), dtype=np.float32)
        return torch.from_numpy(vectors)

    def close(self) -> None:
        """Forget them all."""
        self._file.close()


class Secants:
    """The last ``memory`` pairs (change of the model, change of the gradient) of each client.

    Changes of the model [d] are kept once a round, however many clients were asked in it.
    """

    def __init__(self, memory: int, d: int) -> None:
        self._memory = memory
        self._steps, self._changes = Rows(d), Rows(d)
        self._rounds: dict[int, int] = {}
        self._pairs: dict[ClientId, list[tuple[int, int]]] = {}

    def remember(self, client: ClientId, round: int, step: Vector, change: Vector) -> None:
        """Note that a client's gradient differs by ``change`` [d] where the model does by ``step``.

        ``step`` [d] is one and the same for all clients of a round.
        """
        if round not in self._rounds:
            self._rounds[round] = len(self._rounds)
            self._steps.write(self._rounds[round], step)
        pairs, used = self._pairs.setdefault(client, []), sum(map(len, self._pairs.values()))
        row = used if len(pairs) < self._memory else pairs.pop(0)[1]
        self._changes.write(row, change)
        pairs.append((self._rounds[round], row))

    def product(self, client: ClientId, vector: Vector) -> Vector | None:
        """Return a client's Hessian times ``vector`` [d]; None where too little was seen of it."""
        if not vector.any():
            return torch.zeros_like(vector)
        pairs = self._pairs.get(client)
        if not pairs:
            return None
        steps = self._steps.read([step for step, _ in pairs])
        return lbfgs.product(steps, self._changes.read([row for _, row in pairs]), vector)

    def __enter__(self) -> Self:
        """Return the pairs, to be forgotten at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget all pairs."""
        self._steps.close()
        self._changes.close()


NEGLIGIBLE = 1e-6
"""A displacement shorter than this share of the model is rounding: nothing is learnt from it."""


@dataclass(frozen=True, slots=True)
class Estimator:
    """Estimates what clients would send in a round at another model than that of the round.

    An update is ``-lr g`` with the gradient g; at a model that is v away it is estimated as
    ``-lr (g + H v)``, where the client's secants determine H.
    """

    secants: Secants
    round: int
    """Tells this round's displacement from those of other rounds."""
    displacement: Vector
    """v: from the model that was sent out in the round to the present one, [d]."""
    lr: float
    """Learning rate of the round."""
    largest: float
    """The most that a coordinate of an estimated gradient may be."""
    max_ratio: float
    """The most that an estimate may be longer than the update that it was made from."""

    def normal(self, stored: Updates) -> Updates:
        """Return the estimates made from ``stored`` updates that are normal.

        Clients of whom too little is known are not among them.
        """
        rows, normal = stored.deltas.clone(), set()
        for row, client in zip(rows, stored.clients, strict=True):
            product = self.secants.product(client, self.displacement)
            if product is None:
                continue
            most = self.max_ratio * lengths(row)
            row.sub_(product, alpha=self.lr)
            if row.abs().max() <= self.lr * self.largest and lengths(row) <= most:
                normal.add(client)
        return Updates(stored.clients, rows, stored.examples).only(normal)

    def learn(self, stored: Updates, exact: Updates) -> None:
        """Note what clients sent at the present model, next to what they had sent in the round."""
        if self.displacement.any():
            before = stored.only(set(exact.clients)).deltas
            changes = (before - exact.deltas) / self.lr
            for client, change in zip(exact.clients, changes, strict=True):
                self.secants.remember(client, self.round, self.displacement, change)


def displacement(weights: Vector, before: Vector) -> Vector:
    """Return ``weights - before`` [d], or zeros where that is nothing but rounding."""
    moved = weights - before
    return torch.zeros_like(moved) if lengths(moved) <= NEGLIGIBLE * lengths(weights) else moved
