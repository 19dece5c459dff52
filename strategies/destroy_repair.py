"""Destroy and repair: break what the model knows, then learn anew from those who remain.

    for cycle 1 … C:
        w <- destroy_1(w), destroy_2(w), …
        for each repair:  w <- a round of those who remain, for all its rounds

Whatever forgets fastest when it is broken was held least firmly; what those who remain know comes
back in their rounds, and what only the leavers knew has nobody to bring it back. All leading
entries of the NeurIPS 2023 machine unlearning competition but the first are of this kind. Six stand
in conf/strategy as compositions of `fedunlearn.methods`' destroyers and repairs: convtranspose,
kookmin, seif, sebastian, amnesiacs, forget. Sun, whose mask is another one in each round, has a
file of its own.

Triantafillou et al. Are we making progress in unlearning? Findings from the first NeurIPS
unlearning competition. 2024, arXiv 2406.09073. Cadet, Borovykh, Malekzadeh, Ahmadi-Abhari, Haddadi.
Deep unlearn: benchmarking machine unlearning. 2024, arXiv 2410.01276. The federation is ours: what
they train on retained records is a round of those who remain.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.methods import Destroyer, RedrawEnds, Repair, Situation
from fedunlearn.unlearning import Clients, Guarantee, History, Needs, Request, Vector, checks


@dataclass(frozen=True, slots=True)
class DestroyRepair:
    """Go through all of ``destroy`` and then all of ``repair``, ``cycles`` times."""

    guarantee: ClassVar[Guarantee] = "none"

    destroy: tuple[Destroyer, ...] = (RedrawEnds(first=False),)
    """What breaks the model, one after another."""
    repair: tuple[Repair, ...] = (Repair(),)
    """What repairs it, one after another."""
    cycles: checks.Count = 1
    """Times that all of it is gone through."""

    def __post_init__(self) -> None:
        """Turn lists into tuples; raise `Refused` for values outside their range."""
        checks.fields(self)
        object.__setattr__(self, "destroy", tuple(self.destroy))
        object.__setattr__(self, "repair", tuple(self.repair))
        if not self.destroy:
            raise checks.field_refused(self, "destroy", " must list one destroyer or more.")

    @property
    def needs(self) -> Needs:
        """What all parts need."""
        return Needs.union([*(d.needs for d in self.destroy), *(r.needs for r in self.repair)])

    def length(self, request: Request) -> int:
        """One model for each destruction, and one a round of repair."""
        return self.cycles * (1 + sum(part.rounds for part in self.repair))

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the destroyed model and that after every round of repair, in each cycle."""
        weights, number = history.final, request.after + 1
        for _ in range(self.cycles):
            rng, mask = clients.rng(number), None
            for part in self.destroy:
                broken = part.destroy(weights, Situation(request, history, clients, number, rng))
                weights, mask = broken.weights, broken.mask or mask
            yield weights
            for stage in self.repair:
                now = Situation(request, history, clients, number, rng)
                for repaired in stage.run(weights, mask, now):
                    yield repaired
                    weights = repaired
                number += stage.rounds
