"""Bad teacher: the leavers imitate a model that knows nothing, the others the one that was trained.

    for r = 1 … R:
        leavers:           down KL(p_b(x) | p_w(x)),  b a model with fresh random weights
        those who remain:  down KL(p_T(x) | p_w(x)),  T the trained model
        w <- w + sum_k n_k delta_k / sum_k n_k   over both

Both teachers are frozen and no label matters. b is drawn anew rather than taken from training's
start, which may be a pretrained net that knows a lot.

Chundawat, Tarun, Mandal, Kankanhalli. Can bad teaching induce forgetting? Unlearning in deep
networks using an incompetent teacher. AAAI 2023, arXiv 2205.08096; temperature 1. Its public code
takes the mean of the divergence over classes as well as records, so that its learning rate counts
one class's share; here it is the divergence. The federation is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Imitation,
    LocalWork,
    Needs,
    Request,
    Sgd,
    Vector,
    checks,
    fedavg_step,
    redrawn,
)


def _imitation(lr: float) -> LocalWork:
    return LocalWork(epochs=5, clip_norm=5.0, optimizer=Sgd(lr), objective=Imitation())


@dataclass(frozen=True, slots=True)
class BadTeacher:
    """Give the leavers one teacher and those who remain another, for ``rounds`` rounds."""

    guarantee: ClassVar[Guarantee] = "none"

    rounds: checks.Count = 3
    """Rounds of everybody."""
    leaving: LocalWork = field(default_factory=lambda: _imitation(0.05))
    """What every leaver does in a round: it imitates the model that knows nothing."""
    staying: LocalWork = field(default_factory=lambda: _imitation(0.02))
    """What each of those who remain does in a round: it imitates the trained model."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Everybody works."""
        return Needs(remaining=True, leaver=True)

    def length(self, request: Request) -> int:
        """Return the number of rounds."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after every round."""
        good = weights = history.final
        who, first = sorted(request.clients), request.after + 1
        everything = torch.ones_like(good, dtype=torch.bool)
        bad = redrawn(history.layout, good, everything, clients.rng(first))
        for number in range(first, first + self.rounds):
            asked = clients.leavers
            worse = asked.train(weights, who, self.leaving, round=number, other=bad)
            same = clients.train(weights, work=self.staying, round=number, other=good)
            weights = weights + fedavg_step(worse, same)
            yield weights
