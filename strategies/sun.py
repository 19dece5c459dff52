"""Sun: redraw the last layer, then train a few tensors by lot at a time, with noise on some.

    w <- w with the last layer redrawn
    for r = 1 … M:
        P <- tensors by lot, a ``share`` of all; normalisations always move besides
        r > 1:  w_p <- w_p + noise   for the first 70 % of P, those apart that an earlier P held
        w <- a round of those who remain, on P alone
    for r = M + 1 … M + F:
        w <- a round of those who remain;  in the last, the learning rate is ``last`` times as high

An entry of the NeurIPS 2023 machine unlearning competition. What may move is sent back alone, and
so a round under a mask is a cheap one. Its code tells normalisations by a name that holds "bn", so
that those beside a shortcut count as ordinary tensors; here they are told by their shape. Its noise
has one size for all tensors, here it is relative to each one's.

Cadet, Borovykh, Malekzadeh, Ahmadi-Abhari, Haddadi. Deep unlearn: benchmarking machine unlearning.
2024, arXiv 2410.01276. Triantafillou et al. Are we making progress in unlearning? Findings from the
first NeurIPS unlearning competition. 2024, arXiv 2406.09073. The federation is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from fedunlearn.methods import (
    RedrawEnds,
    Repair,
    Situation,
    drawn_tensors,
    freeing,
    with_noise,
)
from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    LocalWork,
    Needs,
    Request,
    Vector,
    checks,
)


@dataclass(frozen=True, slots=True)
class Sun:
    """Redraw the last layer, train by lot for ``masked`` rounds and freely for ``free``."""

    guarantee: ClassVar[Guarantee] = "none"

    masked: checks.Count = 5
    """Rounds in which only tensors that are drawn by lot move, and normalisations."""
    share: checks.ShareAboveZero = 0.3
    """Tensors that are drawn in each of these, as a share of all but normalisations, rounded up."""
    noised: checks.Share = 0.7
    """Share of the drawn ones that gets noise, rounded down; not in the first round."""
    std: checks.Positive = 0.6
    """Standard deviation of the noise, next to the tensor's root mean square."""
    free: checks.Count = 4
    """Rounds after these, in which all moves."""
    last: checks.Positive = 1.0
    """Factor on the learning rate of the last round."""
    work: LocalWork | None = None
    """What a client does in a round; null: the ordinary work."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Those who remain work, under masks."""
        return Needs(remaining=True, masks=True)

    def length(self, request: Request) -> int:
        """Return the number of rounds."""
        return self.masked + self.free

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after every round."""
        layout, first = history.layout, request.after + 1
        rng, seen = clients.rng(first), set[str]()
        now = Situation(request, history, clients, first, rng)
        weights = RedrawEnds(first=False).destroy(history.final, now).weights
        for done in range(self.masked):
            drawn = drawn_tensors(layout, self.share, rng)
            if done:
                some = drawn[: int(self.noised * len(drawn))]
                fresh = [part for part in some if part.name not in seen]
                weights = with_noise(weights, fresh, self.std, rng)
            seen |= {part.name for part in drawn}
            mask = freeing(layout, drawn)
            (weights,) = Repair(1, self.work).run(weights, mask, replace(now, round=first + done))
            yield weights
        rates = (1.0,) * (self.free - 1) + (self.last,)
        later = replace(now, round=first + self.masked)
        yield from Repair(self.free, self.work, rates).run(weights, None, later)
