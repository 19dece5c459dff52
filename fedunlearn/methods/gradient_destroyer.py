"""Destruction by gradient: what leavers and the rest pull on least is drawn anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.data import ClientId
from fedunlearn.history import Needs
from fedunlearn.local import Gradient, Mask
from fedunlearn.methods.destroyers import Destroyed, Situation, Which, smallest, weights_of
from fedunlearn.models import LEAST_LENGTH, Vector, redrawn

Leaver = Literal["asked", "stored", "unknown"]
"""Where the leavers' gradient comes from: they send it, what they sent in training, or nowhere."""


@dataclass(frozen=True, slots=True)
class RedrawByGradient:
    """In each weight, draw the ``share`` with the smallest ``|g_r - g_u|`` anew; slow the others.

    g_r is the gradient of those who remain and g_u that of the leavers, both of the mean loss, so
    that they count alike. Ascent on the leavers' records and descent on the rest's would pull there
    least. The others' steps in the repair are ``slowed`` times as long; biases and normalisations
    keep their values and their pace.

    ``stored`` takes for g_u the direction of ``-sum_t p_u delta_u``, all that the leavers moved the
    model by, at the length of g_r: their learning rate and steps are not known to this. ``unknown``
    takes 0.
    """

    share: checks.Probability = 0.3
    """Share of each weight that is drawn anew."""
    slowed: checks.ShareAboveZero = 0.1
    """Factor on the steps of the weights that stay."""
    leaver: Leaver = "asked"
    """Where the leavers' gradient comes from."""
    which: Which = "all"
    """The weights that it works on: all but normalisations, or those of convolutions."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """A gradient of those who remain, a mask, and what `leaver` says."""
        return Needs(
            remaining=True,
            masks=True,
            leaver=self.leaver == "asked",
            updates=self.leaver == "stored",
            kernels=self.which == "convolutions",
        )

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Compare gradients, draw anew, and slow the rest."""
        layout = now.history.layout
        kept = mean_gradient(now.clients.query(weights, Gradient(), round=now.round), weights)
        pull = (kept - self._leavers(weights, kept, now)).abs()
        gone = torch.zeros(layout.size, dtype=torch.bool)
        factors = torch.ones(layout.size)
        for part in weights_of(layout, self.which):
            inside = torch.zeros_like(gone)
            inside[part.slice] = True
            chosen = smallest(pull, inside, self.share)
            gone |= chosen
            factors[inside & ~chosen] = self.slowed
        return Destroyed(redrawn(layout, weights, gone, now.rng), Mask(factors))

    def _leavers(self, weights: Vector, kept: Vector, now: Situation) -> Vector:
        """Return the leavers' gradient [d]; ``kept`` [d] is that of those who remain."""
        if self.leaver == "unknown":
            return torch.zeros_like(weights)
        if self.leaver == "asked":
            asked, who = now.clients.leavers, sorted(now.request.clients)
            return mean_gradient(asked.query(weights, Gradient(), who, round=now.round), weights)
        nothing = torch.zeros_like(weights)
        way = -sum((done.share(now.request.clients) for done in now.history), nothing)
        scaled: Vector = way * (kept.norm() / way.norm().clamp_min(LEAST_LENGTH))
        return scaled


def mean_gradient(answers: Mapping[ClientId, Mapping[str, Tensor]], like: Vector) -> Vector:
    """Return the mean gradient over all records of those who answered, [d]; 0 where nobody did."""
    total, records = torch.zeros_like(like), 0.0
    for sums in answers.values():
        total += sums["gradient"]
        records += float(sums["count"])
    return total / max(1.0, records)


def mean_square(answers: Mapping[ClientId, Mapping[str, Tensor]], like: Vector) -> Vector:
    """Return the mean squared gradient [d] over all records of those who answered."""
    total = sum((sums["square"] for sums in answers.values()), torch.zeros_like(like))
    return total / max(1.0, sum(float(sums["count"]) for sums in answers.values()))
