"""What clients would send at another model than the one that they were asked at."""

from dataclasses import dataclass

import torch

from fedunlearn.history import Updates
from fedunlearn.layout import Vector
from fedunlearn.secants import Secants
from fedunlearn.vectors import lengths

NEGLIGIBLE = 1e-6
"""A way that is shorter than this share of the model is rounding: nothing is learnt from it."""


@dataclass(frozen=True, slots=True)
class Estimator:
    """Estimates updates by the secants seen so far, and tells which estimates are normal.

    An update is ``-lr g`` with the gradient g; at a model that is v away it is estimated as
    ``-lr (g + H v)``.
    """

    seen: Secants
    largest: float
    """That a coordinate of an estimated gradient may be."""
    max_ratio: float
    """An estimate may be so many times as long as the update that it was made from."""

    def at(self, kept: Updates, away: Vector, lr: float) -> Updates:
        """Estimate updates at a model that is ``away`` [d] from the one where ``kept`` were sent.

        Returns those that are normal, without the clients of whom too little is known.
        """
        rows, normal = kept.deltas.clone(), set()
        for row, client in zip(rows, kept.clients, strict=True):
            product = self.seen.product(client, away)
            if product is None:
                continue
            length = lengths(row)
            row.sub_(product, alpha=lr)
            if row.abs().max() <= lr * self.largest and lengths(row) <= self.max_ratio * length:
                normal.add(client)
        return Updates(kept.clients, rows, kept.examples).only(normal)

    def learn(self, kept: Updates, sent: Updates, away: Vector, lr: float, round: int) -> None:
        """Note what clients ``sent`` at a model ``away`` [d] from where they had sent ``kept``.

        ``round`` tells different ways apart.
        """
        if away.any():
            before = kept.only(set(sent.clients)).deltas
            for client, change in zip(sent.clients, (before - sent.deltas) / lr, strict=True):
                self.seen.remember(client, round, away, change)


def way(weights: Vector, before: Vector) -> Vector:
    """Return ``weights - before`` [d], or zeros where that is nothing but rounding."""
    away = weights - before
    return torch.zeros_like(away) if lengths(away) <= NEGLIGIBLE * lengths(weights) else away
