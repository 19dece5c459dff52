"""FedRecovery: subtract weighted residuals of all rounds, and hide the rest under noise.

    w = w_T - sum_i a_i r_i + N(0, sigma^2 I),    r_i = p_i / (1 - p_i) (D_i - U_i)
    a_i = |U_i|^2 / sum_j |U_j|^2                 weighting paper: they sum to 1 over all T rounds

U_i is the cohort's weighted mean update in round i, D_i that of the leavers alone and p_i their
share of the cohort's records, so that r_i is U_i less the mean of those who remain. Where only
leavers took part, that is nobody, and r_i = U_i. All T rounds' residuals together therefore weigh
as much as one: the method changes little, and relies on its noise. Other code weighs otherwise:

    rounds        T |U_i|^2 / sum_j |U_j|^2       an independent port: they sum to T
    cumulative    |U_i|^2 / sum_{j < i} |U_j|^2   the port in FedAU's code, Liar-Mask/FedAU; a_1 = 1
    ones          1                               FedAccum at interval 1

If no round moved the model, the rounds share alike. After a single round a_1 = 1 in all readings,
and the model is the retrained one. With noise the result is (epsilon, delta)-close to retraining
if ``bound`` holds: see docs.

Zhang, Zhu, Zhang, Xiong, Zhou. FedRecovery: Differentially Private Machine Unlearning for
Federated Learning Frameworks. IEEE TIFS 2023, algorithm 2; its authors' code is not public. The
port in FedAU's code takes ``sum_{k remains} D_k / (n (n - 1))`` for r_i, which is what the others
gave, five times over, and writes into the last of the stored models.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Literal

import torch

from fedunlearn.methods import NOISE_MECHANISMS, Mechanism
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

    weighting: Literal["paper", "rounds", "cumulative", "ones"] = "paper"
    """Weights of the residuals: paper (``|U_i|^2`` over those of all rounds), rounds (so many times
    that), cumulative (over those of the rounds before) or ones."""
    max_weight: checks.Positive | None = None
    """The most that a residual is subtracted, which no source limits; None: any."""
    sigma: checks.NotNegative = 0.0
    """Standard deviation of the noise added to each parameter; 0: none."""
    bound: checks.Positive | None = None
    """Distance from retraining, if known: gives the noise in place of sigma; None: sigma does."""
    epsilon: checks.Positive = 1.0
    """Epsilon of the guarantee, if the bound holds."""
    delta: checks.Probability = 1e-5
    """Delta of the guarantee, if the bound holds."""
    mechanism: Mechanism = "analytic"
    """How noise follows from a bound: analytic (the least), classical (epsilon up to 1) or renyi
    (the paper's)."""

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
        return NOISE_MECHANISMS[self.mechanism](self.bound, self.epsilon, self.delta)

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
        rounds = [stored for stored in history if stored.clients]
        steps = (_step(stored.updates)[parameters].double() for stored in rounds)
        weights = self.weights([float(step @ step) for step in steps])
        removed = torch.zeros(parameters.stop, dtype=torch.float64)
        for stored, weight in zip(rounds, weights, strict=True):
            updates = stored.updates
            leaving = updates.only(request.clients)
            if leaving.clients:
                removed += weight * _residual(updates, leaving)[parameters].double()
        noise = torch.from_numpy(clients.rng(1).normal(scale=self.noise, size=len(removed)))
        final = history.final.clone()
        final[parameters] += (noise - removed).float()
        yield final

    def weights(self, moved: Sequence[float]) -> list[float]:
        """Return a_i of rounds whose mean updates have the squared norms ``moved``."""
        count, total = len(moved), sum(moved)
        shares = [square / total if total else 1 / count for square in moved]
        match self.weighting:
            case "paper":
                rates = shares
            case "rounds":
                rates = [count * share for share in shares]
            case "cumulative":
                earlier = [0.0, *accumulate(moved)]
                rates = [m / e if e else 1.0 for m, e in zip(moved, earlier, strict=False)]
            case "ones":
                rates = [1.0] * count
        most = math.inf if self.max_weight is None else self.max_weight
        return [min(weight, most) for weight in rates]


def _step(updates: Updates) -> Vector:
    """Return the mean update of these clients, weighted by records."""
    return mean(updates.deltas, updates.examples)


def _residual(updates: Updates, leaving: Updates) -> Vector:
    """Return U_i less the mean of those who remain; their rows need not be copied for it."""
    if len(leaving.clients) == len(updates.clients):
        return _step(updates)
    share = float(leaving.examples.sum() / updates.examples.sum().double())
    return share / (1 - share) * (_step(leaving) - _step(updates))
