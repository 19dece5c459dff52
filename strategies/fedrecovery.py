"""FedRecovery: subtract weighted residuals of all rounds, and hide the rest under noise.

    w = w_T - sum_i a_i r_i + N(0, sigma^2 I),    r_i = p_i / (1 - p_i) (D_i - U_i)
    a_i = min(|U_i|^2 / sum_{j < i} |U_j|^2, max_weight)

over all rounds i: U_i is the cohort's weighted mean update, D_i that of the leavers alone and p_i
their share of the cohort's records, so that r_i is U_i less the mean of those who remain. Where
only leavers took part, that is nobody, and r_i = U_i. The first round has no predecessors: a_1 = 1,
for all began at a model that no leaver had touched. Every a_i = 1 gives FedAccum at interval 1.
With noise the result is (epsilon, delta)-close to retraining if ``bound`` holds: see docs.

Zhang, Zhu, Zhang, Xiong, Zhou. FedRecovery: Differentially Private Machine Unlearning for
Federated Learning Frameworks. IEEE TIFS 2023. Its authors' code is not public. A public port takes
``sum_{k remains} D_k / (n (n - 1))`` for r_i, which is what the others gave, five times over, and
writes into the last of the stored models. The weights a_i are those of the ports.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from fedunlearn.methods import MECHANISMS, Mechanism
from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Needs,
    Request,
    Updates,
    Vector,
    checks,
    mean,
)


@dataclass(frozen=True, slots=True)
class FedRecovery:
    """Subtract residuals; add noise ``sigma``, or what ``bound``, ``epsilon`` and ``delta`` ask."""

    guarantee: ClassVar[Guarantee] = "none"  # nothing here shows that a bound holds

    weighting: Literal["norms", "ones"] = "norms"
    """Weights of the residuals: norms (``|U_i|^2`` over those of all rounds before) or ones."""
    max_weight: checks.Positive | None = 1.0
    """The most that a residual is subtracted; None: any."""
    sigma: checks.NotNegative = 0.0
    """Standard deviation of the noise added to each parameter; 0: none."""
    bound: checks.Positive | None = None
    """Distance from retraining, if known: gives the noise in place of sigma; None: sigma does."""
    epsilon: checks.Positive = 1.0
    """Epsilon of the guarantee, if the bound holds."""
    delta: checks.Probability = 1e-5
    """Delta of the guarantee, if the bound holds."""
    mechanism: Mechanism = "analytic"
    """How noise follows from a bound: analytic (the least) or classical (epsilon up to 1)."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range and for noise that is named twice."""
        checks.fields(self)
        too_large = checks.Number(above=0, at_most=1).wrong(self.epsilon)
        if self.mechanism == "classical" and too_large:
            raise checks.field_refused(self, "epsilon", too_large)
        if self.bound is not None and self.sigma:
            raise checks.field_refused(
                self, "bound", " and sigma both say how much noise to add. Set one of them."
            )

    @property
    def noise(self) -> float:
        """The standard deviation of what is added to each parameter."""
        if self.bound is None:
            return self.sigma
        return MECHANISMS[self.mechanism](self.bound, self.epsilon, self.delta)

    @property
    def needs(self) -> Needs:
        """Every update of every round: the weights take the whole cohort's."""
        return Needs(updates=True, complete=True)

    def length(self, request: Request) -> int:
        """One step: the server does it alone."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model without the residuals, with noise."""
        parameters = history.layout.parameters
        removed, earlier = torch.zeros(parameters.stop, dtype=torch.float64), 0.0
        for stored in history:
            updates = stored.updates
            if not updates.clients:
                continue
            step = mean(updates.deltas, updates.examples)[parameters].double()
            moved = float(step @ step)
            leaving = updates.only(request.clients)
            if leaving.clients:
                removed += self._weight(moved, earlier) * _residual(step, updates, leaving)
            earlier += moved
        noise = torch.from_numpy(clients.rng(1).normal(scale=self.noise, size=len(removed)))
        weights = history.final.clone()
        weights[parameters] += (noise - removed).float()
        yield weights

    def _weight(self, moved: float, earlier: float) -> float:
        """Return a_i from ``|U_i|^2`` and the sum of those before it."""
        if self.weighting == "ones":
            return 1.0
        ratio = moved / earlier if earlier else 1.0
        return ratio if self.max_weight is None else min(ratio, self.max_weight)


def _residual(step: Vector, updates: Updates, leaving: Updates) -> Vector:
    """Return ``step`` less the mean of those who remain; their rows need not be copied for it."""
    if len(leaving.clients) == len(updates.clients):
        return step
    share = float(leaving.examples.sum() / updates.examples.sum().double())
    return share / (1 - share) * (mean(leaving.deltas, leaving.examples)[: len(step)] - step)
