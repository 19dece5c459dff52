"""FedRecover: run training again, but let the server estimate what most clients would send.

    w <- w - sum_k n_k l g'_k / sum_k n_k,    g'_k = g_k + H_k (w - w_t)

over the stored rounds t and the clients k who remain. Client k's update is -l g_k at the learning
rate l of round t, measured at the model w_t of that day; H_k is the L-BFGS Hessian of the last
pairs (w - w_t, g'_k - g_k) that are known exactly. Known they are where clients are asked: in the
first ``warmup`` rounds, then in every ``interval``-th, in the last ``tuning`` rounds, and whenever
an estimate is abnormal: if a coordinate exceeds tau, which is the size that only a share
``tolerance`` of a round's stored coordinates exceeds (the largest over all rounds), or if g'_k is
longer than ``max_ratio`` |g_k|, since with tau alone estimates may diverge.

Cao, Jia, Zhang, Gong. FedRecover: Recovering from Poisoning Attacks in Federated Learning using
Historical Information. IEEE S&P 2023, arXiv 2210.10936. Public code under this name estimates
nothing: all clients train in every round by torch.optim.LBFGS, or it is plain fine-tuning.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.methods import BlockwiseStep, Estimator, Secants, blocks, displacement, quantile
from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Needs,
    Request,
    Updates,
    Vector,
    checks,
)


@dataclass(frozen=True, slots=True)
class FedRecover:
    """Estimate by ``memory`` pairs a client between the rounds in which clients are asked."""

    guarantee: ClassVar[Guarantee] = "none"

    warmup: checks.Count = 4
    """First rounds in which all clients are asked; more than ``memory``."""
    interval: checks.Count = 4
    """After those, all clients are asked in one round in so many."""
    tuning: checks.CountFromZero = 3
    """Last rounds in which all clients are asked."""
    memory: checks.Count = 2
    """Pairs of a client of which its Hessian is made."""
    tolerance: checks.ShareBelowOne = 1e-6
    """Share of stored coordinates that may exceed the largest normal one."""
    max_ratio: checks.Ratio = 2.0
    """An estimate longer than so many times the stored update is abnormal."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
        too_few = checks.Whole(self.memory + 1).wrong(self.warmup)
        if too_few:
            raise checks.field_refused(self, "warmup", too_few)

    @property
    def needs(self) -> Needs:
        """Every update, and every model at which it was measured."""
        return Needs(updates=True, models=True, remaining=True, complete=True)

    def length(self, request: Request) -> int:
        """One round for each that was stored."""
        return request.after

    def asks(self, place: int, rounds: int) -> bool:
        """Say whether all clients of the stored round at ``place``, from 0, are asked."""
        since = place - self.warmup + 1
        return since <= 0 or place >= rounds - self.tuning or since % self.interval == 0

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after each round."""
        recorded, d = history.without(request.clients), history.layout.size
        lr = [clients.work.lr(stored.number) for stored in recorded]
        sizes = (
            quantile(r, d, self.tolerance) / rate for r, rate in zip(recorded, lr, strict=True)
        )
        largest = max(sizes, default=0)
        weights = history.initial
        with Secants(self.memory, d) as secants:
            for place, stored in enumerate(recorded):
                all_wishes, mean = self.asks(place, len(recorded)), BlockwiseStep(stored, d)
                moved = displacement(weights, stored.before)
                estimator = Estimator(secants, place, moved, lr[place], largest, self.max_ratio)
                for block in blocks(stored, d):
                    sent = block.updates
                    estimates = Updates.none(d) if all_wishes else estimator.normal(sent)
                    mean.add(estimates)
                    if doubtful := set(sent.clients) - set(estimates.clients):
                        exact = clients.train(weights, doubtful, round=stored.number)
                        estimator.learn(sent, exact)
                        mean.add(exact)
                weights = weights + mean.step
                yield weights
