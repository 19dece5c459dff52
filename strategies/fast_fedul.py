"""Fast-FedUL: take the leavers' updates out of the model, less the longer they have been in it.

    v <- b_t v - sum_u p_u D_u^t,    b_t = 1 - alpha sum_k p_k,    w = w_T + theta v

over the kept rounds t, oldest first: u runs over the leavers in the cohort of round t, k over all
others in it, p are records as shares of that cohort's and D = local - broadcast. What a leaver
added is thus undone by others at the rate alpha; with alpha = 0 this is subtraction.

Huynh, Nguyen, Nguyen, Nguyen, Weidlich, Nguyen, Aberer. Fast-FedUL: A Training-Free Federated
Unlearning with Provable Skew Resilience. ECML-PKDD 2024, arXiv 2405.18040. Their code assumes the
cohort {0 ... 9}, takes p over all clients, and removes nothing of leavers who missed the last
five rounds; none of that is here. It stores the largest updates only: ``policy=largest``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.unlearning import Clients, Guarantee, History, Needs, Request, Vector, checks


@dataclass(frozen=True, slots=True)
class FastFedUL:
    """Subtract with decay ``alpha``, scaled by ``theta``; no ``alpha`` works everywhere."""

    guarantee: ClassVar[Guarantee] = "none"

    alpha: checks.Share = 0.07
    """Rate at which the others' rounds undo what a leaver added; 0: none is undone."""
    theta: checks.Positive = 1.0
    """How many times what is left of it is taken out."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Every update of every round, or the largest of them."""
        return Needs(updates=True)

    def length(self, request: Request) -> int:
        """One step: the server does it alone."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model without what is left of the leavers' updates."""
        removed = history.final.new_zeros(history.final.shape)
        for stored in history:
            if not stored.clients:
                continue  # nobody replied: nobody added anything, nor undid it
            leaving = stored.only(request.clients).updates
            others = 1 - float(leaving.examples.sum()) / stored.cohort_examples
            removed = (1 - self.alpha * others) * removed - stored.share(request.clients)
        weights = history.final.clone()
        weights[history.layout.parameters] += self.theta * removed[history.layout.parameters]
        yield weights
