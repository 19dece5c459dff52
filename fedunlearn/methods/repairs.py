"""How those who remain repair a destroyed model: some rounds of work, under a mask or freely."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from fedunlearn import checks
from fedunlearn.history import Needs, fedavg_step
from fedunlearn.local import LabelCounts, LocalWork, Mask, teaches
from fedunlearn.methods.destroyers import Situation
from fedunlearn.models import Vector


@dataclass(frozen=True, slots=True)
class Repair:
    """Some rounds with those who remain: ``w <- w + sum_k n_k delta_k / sum_k n_k``.

    Where the objective compares with a second model, that is the one before the request: it is sent
    along, and what it knows of the leavers may come back by it.
    """

    rounds: checks.Count = 3
    """Rounds with those who remain."""
    work: LocalWork | None = None
    """What a client does in a round; null: the ordinary work."""
    rates: tuple[checks.Positive, ...] = ()
    """Factors on the learning rate, one for each round; none: 1 for all."""
    masked: bool = True
    """Whether a mask that the destroyer left holds in these rounds."""
    rarity: checks.NotNegative = 0.0
    """Classes count as their records to the power of minus this, over all clients; 0: alike."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for factors of other rounds."""
        checks.fields(self)
        object.__setattr__(self, "rates", tuple(self.rates))
        if self.rates and len(self.rates) != self.rounds:
            rest = f" must hold a number for each of the {self.rounds} rounds, or none."
            raise checks.field_refused(self, "rates", rest)

    @property
    def needs(self) -> Needs:
        """Those who remain work."""
        return Needs(remaining=True)

    def run(self, weights: Vector, mask: Mask | None, now: Situation) -> Iterator[Vector]:
        """Yield the model [d] after each round; the first bears the number ``now.round``."""
        work = now.clients.work if self.work is None else self.work
        if self.rarity:
            work = replace(work, class_weights=self._class_weights(weights, now))
        teacher = now.history.final if teaches(work.objective) else None
        for place in range(self.rounds):
            paced = _at_rate(work, self.rates[place] if self.rates else 1.0)
            updates = now.clients.train(
                weights,
                work=paced,
                round=now.round + place,
                other=teacher,
                mask=mask if self.masked else None,
            )
            if updates.clients:
                weights = weights + fedavg_step(updates)
            yield weights

    def _class_weights(self, weights: Vector, now: Situation) -> tuple[float, ...]:
        """Return ``n_c ** -rarity``, n_c the records of class c, or 1 where there are none."""
        answers = now.clients.query(weights, LabelCounts(), round=now.round)
        counts = torch.stack([sums["count"] for sums in answers.values()]).sum(0)
        powers: list[float] = (counts.clamp_min(1) ** -self.rarity).tolist()
        return tuple(powers)


def _at_rate(work: LocalWork, factor: float) -> LocalWork:
    """Return ``work`` with ``factor`` times its learning rate."""
    if factor == 1:
        return work
    optimizer = work.optimizer
    return replace(work, optimizer=replace(optimizer, lr=factor * optimizer.lr))  # type: ignore[type-var]
