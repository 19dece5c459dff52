"""Random labels: the leavers learn nonsense while the others learn on; SalUn moves some weights.

    M <- the share of all parameters with the largest |sum_i grad l_i(w)| over the leavers' records
    for r = 1 … R, on M alone:
        leavers:           -log p(y'_i | x_i),  y'_i drawn by lot
        those who remain:  their ordinary work
        w <- w + sum_k n_k delta_k / sum_k n_k   over both

With ``share`` 1 all weights move (random label, FedRL); with less it is SalUn: the leavers send one
gradient, the mask goes to everybody, and just what it lets move comes back. The first release of
SalUn's code masked gradients alone, so that momentum and weight decay moved what was masked; a
`Mask` keeps it to the bit.

Fan, Liu, Zhang, Wong, Wei, Liu. SalUn: empowering machine unlearning via gradient-based weight
saliency in both image classification and generation. ICLR 2024, arXiv 2310.12508; share 0.5. The
federation is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fedunlearn.methods import mean_gradient, smallest
from fedunlearn.unlearning import (
    Clients,
    Gradient,
    Guarantee,
    History,
    LocalWork,
    Mask,
    Needs,
    RandomLabels,
    Request,
    Sgd,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class RandomLabel:
    """Let the leavers learn random labels and the others their own, on some or all weights."""

    guarantee: ClassVar[Guarantee] = "none"

    share: checks.ShareAboveZero = 1.0
    """Share of the parameters that move: those on which the leavers pull most; 1: all."""
    rounds: checks.Count = 3
    """Rounds of everybody."""
    work: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=1, clip_norm=5.0, optimizer=Sgd(lr=0.02), objective=RandomLabels()
        )
    )
    """What every leaver does in a round."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Everybody works; a mask where not all weights move."""
        return Needs(remaining=True, leaver=True, masks=self.share < 1)

    def length(self, request: Request) -> int:
        """Return the number of rounds."""
        return self.rounds

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after every round."""
        weights, who, first = history.final, sorted(request.clients), request.after + 1
        mask = self._mask(weights, history, clients, who, first)
        for number in range(first, first + self.rounds):
            wrong = clients.leavers.train(weights, who, self.work, round=number, mask=mask)
            right = clients.train(weights, round=number, mask=mask)
            weights = weights + fedavg_step(wrong, right)
            yield weights

    def _mask(
        self, weights: Vector, history: History, clients: Clients, who: list[int], round: int
    ) -> Mask | None:
        """Return the mask of what the leavers pull on most; None where all moves."""
        if self.share == 1:
            return None
        pull = mean_gradient(
            clients.leavers.query(weights, Gradient(), who, round=round), weights
        ).abs()
        among = pull.new_zeros(len(pull)).bool()
        among[history.layout.parameters] = True
        return Mask.of(among & ~smallest(pull, among, 1 - self.share))
