"""Fanchuan: the leavers learn to say nothing, then to be like nobody, while the others learn on.

    leavers:  one work down  KL(uniform | p_w(x))
    for r = 1 … R:
        z_c <- the mean logits of those who remain on their records of class c, one sum of each
        leavers:           w <- w + mean_u(delta_u)   down  -mean_c log softmax_c(f(x) . z_c / tau)
        those who remain:  w <- w + mean_k(delta_k)   by their ordinary work

The winning entry of the NeurIPS 2023 machine unlearning competition, for clients. There z are the
logits of 256 single retained records, which nobody may see here: means by class stand for them.
Descriptions say that the contrast is maximised; its code minimises the above, which makes a record
equally like all others, and so does this.

Cadet, Borovykh, Malekzadeh, Ahmadi-Abhari, Haddadi. Deep unlearn: benchmarking machine unlearning.
2024, arXiv 2410.01276. Triantafillou et al. Are we making progress in unlearning? Findings from the
first NeurIPS unlearning competition. 2024, arXiv 2406.09073. The federation is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from fedunlearn.unlearning import (
    Clients,
    Contrast,
    Guarantee,
    History,
    Indifference,
    LocalWork,
    LogitSums,
    Needs,
    Request,
    Sgd,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class Fanchuan:
    """Let the leavers fall silent, then alternate for ``rounds`` rounds."""

    guarantee: ClassVar[Guarantee] = "none"

    rounds: checks.Count = 3
    """Rounds of everybody, after the leavers' first work."""
    silence: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=1, clip_norm=5.0, optimizer=Sgd(lr=0.02), objective=Indifference()
        )
    )
    """What every leaver does at first."""
    contrast: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=1, clip_norm=5.0, optimizer=Sgd(lr=0.002), objective=Contrast()
        )
    )
    """What every leaver does in a round; its objective is sent the prototypes."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for another contrast."""
        checks.fields(self)
        if not isinstance(self.contrast.objective, Contrast):
            rest = ".objective must be a Contrast: it is sent prototypes in every round."
            raise checks.field_refused(self, "contrast", rest)

    @property
    def needs(self) -> Needs:
        """Everybody works."""
        return Needs(remaining=True, leaver=True)

    def length(self, request: Request) -> int:
        """Return the number of rounds."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after every round."""
        who, first = sorted(request.clients), request.after + 1
        asked = clients.leavers
        likeness = self.contrast.objective
        assert isinstance(likeness, Contrast)
        silent = asked.train(history.final, who, self.silence, round=first)
        weights = history.final + fedavg_step(silent)
        for number in range(first, first + self.rounds):
            others = _prototypes(weights, clients, number)
            work = replace(self.contrast, objective=replace(likeness, prototypes=others))
            weights = weights + fedavg_step(asked.train(weights, who, work, round=number))
            weights = weights + fedavg_step(clients.train(weights, round=number))
            yield weights


def _prototypes(weights: Vector, clients: Clients, round: int) -> tuple[float, ...]:
    """Return the mean logits of each class that those who remain hold, one after another."""
    answers = clients.query(weights, LogitSums(), round=round).values()
    if not answers:
        return ()
    counts = torch.stack([sums["count"] for sums in answers]).sum(0)
    total = torch.stack([sums["logits"] for sums in answers]).sum(0)
    held = counts > 0
    means: list[float] = (total[held] / counts[held, None]).flatten().tolist()
    return tuple(means)
