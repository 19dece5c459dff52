"""SIFU: go back to the last model that the leavers moved little, hide that under noise, train on.

    Psi(n) = sum_{t <= n} a^(n - t) p_t / (1 - p_t) |D_t - U_t|,    T = max {n : Psi(n) <= Psi*}
    w_T + N(0, sigma^2 I) -> FedAvg over those who remain, from round T + 1

U_t is the mean update of round t's cohort, D_t that of the leavers in it and p_t their share of
its records; so a term is how far from its end the round would have ended without them, infinitely
far where nobody would have been left. Psi* = epsilon sigma / sqrt(2 ln(1.25 / delta)) is how much
the noise hides (``mechanism`` classical). Where Psi = 0 there is nothing to hide, and no noise.

"Certified" means: if the following hold, which nothing here shows. (1) A round drives two models at
most a, ``decay``, times as far apart. The default of 1 is a theorem for convex smooth losses and
small steps, values below 1 for strongly convex ones; rounds of a net may expand, by factors above 1
that nobody knows. (2) The server takes plain averages with a learning rate of 1. (3) Only the noisy
model and what is made of it are seen, and not the place T, which depends on the leavers' updates.

Fraboni, Van Waerebeke, Scaman, Vidal, Kameni, Lorenzi. SIFU: Sequential Informed Federated
Unlearning for Efficient and Provable Client Unlearning in Federated Optimization. AISTATS 2024,
arXiv 2211.11656. Its code takes p = 1 / M of all M clients where a round asks only m, which counts
(M - 1) / (m - 1) times too little, and of several leavers the one who moved the model most, where
two who are alike move it about twice as far.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import ClassVar

import torch

from fedunlearn.methods import NOISE_MECHANISMS, Mechanism, Restart, cuts, increment, restart
from fedunlearn.unlearning import (
    ClientId,
    Clients,
    Guarantee,
    History,
    Needs,
    Request,
    Vector,
    checks,
)


@dataclass(frozen=True, slots=True)
class Sifu:
    """Roll back as far as noise ``sigma`` gives (``epsilon``, ``delta``), and train again."""

    guarantee: ClassVar[Guarantee] = "certified"  # under the assumptions above

    epsilon: checks.Positive = 10.0
    """Epsilon of the guarantee; smaller is stricter."""
    delta: checks.Probability = 0.01
    """Chance that the guarantee fails; the paper takes 1 / clients."""
    sigma: checks.Positive = 0.05
    """Standard deviation of the noise on each parameter."""
    mechanism: Mechanism = "analytic"
    """What the noise is worth: analytic (exact), classical (the paper's) or renyi (any epsilon)."""
    decay: checks.Positive = 1.0
    """Factor on the bound from round to round, assumed: below 1 only if every loss is strongly
    convex, above 1 where rounds drive models apart, as those of a net may."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What "certified" takes for granted."""
        return (
            f"A round drives two models at most {self.decay:g} times as far apart (decay). 1 holds "
            "for convex smooth losses and small steps, less for strongly convex ones; for a net "
            "nobody knows the factor, and it is commonly above 1.",
            "The server takes plain averages with a learning rate of 1.",
            "Only the noisy model and what is made of it without the leavers are seen, and not to "
            "which round it went back, which depends on the leavers' updates.",
        )

    @property
    def budget(self) -> float:
        """Psi*: how far apart two models may be that the noise makes hard to tell apart."""
        return self.sigma / NOISE_MECHANISMS[self.mechanism](1, self.epsilon, self.delta)

    @property
    def needs(self) -> Needs:
        """Every update and every model that was sent out."""
        return Needs(updates=True, models=True, remaining=True, replaces=True, complete=True)

    def length(self, request: Request) -> int:
        """At most the noisy model and as many rounds as training took."""
        return 1 + request.after

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the noisy model and the one after each round; none if no leaver took part."""
        bounds = self.bounds(history, request.clients)
        allowed = (place for place in cuts(history, request.after) if bounds[place] <= self.budget)
        place = max(allowed)
        if place == len(history) and not bounds[place]:
            return
        start = restart(history, place, request.after)
        weights = start.weights.clone()
        if bounds[place]:
            trained = weights[history.layout.parameters]
            noise = clients.rng(1).normal(scale=self.sigma, size=len(trained))
            trained += torch.from_numpy(noise).float()
        yield weights
        yield from Restart(weights, start.number).rounds(clients, request.after)

    def bounds(self, history: History, leavers: Set[ClientId]) -> list[float]:
        """Return Psi before each stored round and after the last one."""
        bounds = [0.0]
        for place in range(len(history)):
            bounds.append(self.decay * bounds[-1] + increment(history, place, leavers))
        return bounds
