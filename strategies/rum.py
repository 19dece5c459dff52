"""RUM: refine what is to be forgotten by how hard it is, and give each part its own method.

    S_1, …, S_K <- the leavers' records (or the leavers), by hardness, the easiest first
    for j = 1 … K:   w <- s_j from w, as if S_j were all that leaves

What a model would know without them, the easy ones, needs nothing; what it knows by heart needs a
method that takes memory away. By ``records``, each leaver ranks its own by the model before the
request, the ranks never leave it, and the strategies ask it for work on one part. By ``clients``
the server learns one mean for each leaver, and ``edges`` tell whose turn is when. Those who leave
are gone for everybody: no part is trained on while an earlier one is being forgotten.

Zhao, Kurmanji, Bărbulescu, Triantafillou, Triantafillou. What makes unlearning hard and what to do
about it. NeurIPS 2024, arXiv 2406.01257. The authors keep later parts among the retained records
until it is their turn, which leavers in a federation do not allow; the proxies of hardness are
those of Zhao, Triantafillou, 2024, arXiv 2410.16516.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

from fedunlearn.unlearning import (
    ClientId,
    Clients,
    Guarantee,
    HardnessSum,
    History,
    Needs,
    Part,
    Ranked,
    Request,
    UnlearningStrategy,
    Vector,
    checks,
)
from strategies.fedquit import FedQuit
from strategies.finetune import FineTune
from strategies.none import Nothing


class _Part(NamedTuple):
    """What one strategy serves."""

    request: Request
    clients: Clients


@dataclass(frozen=True, slots=True)
class Rum:
    """Run one of ``strategies`` for each part, from the easiest to the hardest."""

    guarantee: ClassVar[Guarantee] = "none"

    strategies: tuple[UnlearningStrategy, ...] = (Nothing(), FineTune(), FedQuit())
    """What serves each part, that of the easiest first; as many parts as there are strategies."""
    by: Literal["records", "clients"] = "records"
    """What is put in order: each leaver's own records in equal parts, or the leavers."""
    score: str = "confidence"
    """What tells how hard a record is: confidence (1 - p_y), loss, entropy or random."""
    edges: tuple[float, ...] = (0.1, 0.3)
    """Mean hardness at which leavers (``by=clients``) come into the next part."""
    order: Literal["ascending", "descending"] = "ascending"
    """Whether the easiest part comes first or last."""
    rescore: bool = False
    """Whether each part is told by the model that the one before it left."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range, and for strategies that undo updates.

        What a client sent in training was made from all of its records: it cannot be undone for a
        part of them.
        """
        checks.fields(self)
        object.__setattr__(self, "strategies", tuple(self.strategies))
        object.__setattr__(self, "edges", tuple(self.edges))
        HardnessSum(self.score)
        if not self.strategies:
            raise checks.field_refused(self, "strategies", " must list one strategy or more.")
        for place, strategy in enumerate(self.strategies):
            if strategy.needs.replaces or (self.by == "records" and strategy.needs.updates):
                rest = (
                    f"[{place}] works on what whole clients sent, not on a part of their records."
                )
                raise checks.field_refused(self, "strategies", rest)
        if self.by == "clients" and len(self.edges) != len(self.strategies) - 1:
            rest = (
                f" must hold one number less than there are strategies: {len(self.strategies) - 1}."
            )
            raise checks.field_refused(self, "edges", rest)

    @property
    def needs(self) -> Needs:
        """What all of them need, and the leavers, to be put in order."""
        return Needs.union([*(each.needs for each in self.strategies), Needs(leaver=True)])

    def length(self, request: Request) -> int:
        """Return the rounds of all."""
        return sum(each.length(request) for each in self.strategies)

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the models of each part's strategy in turn."""
        weights = history.final
        plan = self._plan(request, weights, clients)
        places = range(len(plan))
        for place in places if self.order == "ascending" else reversed(places):
            if self.rescore and weights is not history.final:
                plan = self._plan(request, weights, clients)
            part, strategy = plan[place], self.strategies[place]
            if not part.request.clients:
                continue
            # Of the others who leave nothing is replayed, whosever turn it is.
            others = history.without(request.clients - part.request.clients)
            shown = replace(others, final=weights).select(strategy.needs, request.after)
            asked = part.clients.narrowed(strategy.needs)
            for model in strategy.unlearn(part.request, shown, asked):
                yield model
                weights = model

    def _plan(self, request: Request, judge: Vector, clients: Clients) -> list[_Part]:
        """Return what each strategy serves, by the hardness that the model ``judge`` [d] finds."""
        count = len(self.strategies)
        if self.by == "records":
            shares = (Ranked(self.score, i / count, (i + 1) / count) for i in range(count))
            return [_Part(request, clients.parted(Part(share, judge))) for share in shares]
        asked, query = clients.leavers, HardnessSum(self.score)
        answers = asked.query(judge, query, sorted(request.clients), round=request.after + 1)
        who: list[set[ClientId]] = [set() for _ in self.strategies]
        for client, sums in answers.items():
            mean = float(sums["total"] / sums["count"])
            who[sum(mean >= edge for edge in self.edges)].add(client)
        return [_Part(replace(request, clients=frozenset(each)), clients) for each in who]
