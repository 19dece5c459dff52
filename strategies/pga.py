"""PGA: the leaver undoes its own training by projected gradient ascent, in a ball around the rest.

    w_ref = (w_T - p w_u) / (1 - p) = w_T - (D - D_rest)
    w <- P(w + lr grad F_u(w))  from w_ref,  P onto the ball |w - w_ref| <= delta
    until |w - w_u| > kappa |w_ref - w_u|, or for all epochs of ``work``

w_u is the leaver's model after its last round and p its share of that round's records: w_ref is the
average of the others. It is written as a difference of that round's mean updates, of all (D) and of
those who remain (D_rest): the same in round T, and it also serves a leaver who was last asked
earlier. ``delta`` is ``radius`` times the way that training took, ``|w_ref - w_0|``, and ``kappa``
is ``stop``. Of several leavers each ascends on its own, from the one w_ref without any of them; the
result is the mean of their models, weighted by records, and lies in the ball, too.

Ordinary rounds are to follow: ``recovery=plain``.

Halimi, Kadhe, Rawat, Baracaldo. Federated Unlearning: How to Efficiently Erase a Client in FL?
2022, arXiv 2207.05521. Its public code stops where a *squared* distance exceeds 2.2 and takes a
squared radius; ports that compute plain lengths but keep one of the two constants project to
another ball. Neither constant fits another model. So both are relative here, and plain lengths.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from fedunlearn.methods import last_rounds, mean_update
from fedunlearn.unlearning import (
    Ascent,
    Ball,
    Clients,
    Guarantee,
    History,
    LocalWork,
    Needs,
    Request,
    Sgd,
    Vector,
    checks,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class PGA:
    """Ascend by ``work`` within ``radius``, until ``stop`` times as far from the leaver's model."""

    guarantee: ClassVar[Guarantee] = "none"

    radius: checks.Positive = 0.58
    """Radius of the ball, as a share of the way from the first model to the reference."""
    stop: checks.Positive = 5.0
    """Ends so many times as far from the leaver's model as the reference is."""
    work: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=5,
            batch_size=32,
            clip_norm=5.0,
            optimizer=Sgd(lr=0.01, momentum=0.9),
            objective=Ascent(),
        )
    )
    """The leaver's work: gradient ascent."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """The updates of the last round of each leaver, whichever that will be."""
        return Needs(updates=True, leaver=True)

    def length(self, request: Request) -> int:
        """One round: the leavers work at the same time."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the mean of the models that the leavers end with."""
        rounds = last_rounds(history, request.clients)
        reference, d = history.final, history.layout.size
        for stored, _ in rounds:
            others = stored.without(request.clients)
            reference = reference - mean_update(stored, d) + mean_update(others, d)
        radius = self.radius * float((reference - history.initial).norm())

        ascents = []
        for stored, leavers in rounds:
            for leaver in sorted(leavers):
                alone = stored.only({leaver})
                final = history.final - mean_update(stored, d) + mean_update(alone, d)
                stop = self.stop * float((reference - final).norm())
                work, number = replace(self.work, bound=Ball(radius, stop)), request.after + 1
                ascents.append(
                    clients.leavers.train(reference, [leaver], work, round=number, other=final)
                )
        yield reference + fedavg_step(*ascents) if ascents else reference
