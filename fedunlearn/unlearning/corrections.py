"""Corrections of local work for clients who hold different data: SCAFFOLD and FedDyn.

The server keeps a vector of each client, makes the next one from what the client sent, and sends
the correction along with the model: clients keep nothing. What it keeps lives as long as one run
of ordinary rounds: it begins at zero with training and anew after every request, as the server's
optimizers do, for everybody's vector was measured on models that the leavers helped to make. So
nothing of it is stored, purged or searched for, and retraining is a federation without the leavers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import torch

from fedunlearn import checks
from fedunlearn.checks import Positive
from fedunlearn.data import ClientId
from fedunlearn.history import Updates
from fedunlearn.local import Corrected, LocalWork, Sgd
from fedunlearn.models import Vector, mean
from fedunlearn.unlearning.server_optimizers import FedAvg, ServerOptimizer
from fedunlearn.unlearning.strategy import Clients


@dataclass(frozen=True, slots=True)
class ControlVariates:
    """A vector [d] of each client, and their mean over all clients; at first all are zero."""

    clients: int
    """How many there are, N."""
    total: Vector
    """``sum_k n_k c_k`` over the clients heard of, [d]."""
    own: Mapping[ClientId, Vector] = field(default_factory=dict)
    examples: Mapping[ClientId, int] = field(default_factory=dict)

    @property
    def mean(self) -> Vector:
        """Return ``sum_k n_k c_k / (N n)`` [d]; n is the mean of those n_k that are known."""
        if not self.examples:
            return self.total
        return self.total * (len(self.examples) / (self.clients * sum(self.examples.values())))

    def of(self, client: ClientId) -> Vector:
        """Return a client's vector, [d]."""
        return self.own.get(client, torch.zeros_like(self.total))

    def then(self, updates: Updates, own: Mapping[ClientId, Vector]) -> "ControlVariates":
        """Put the new vectors of a round's clients in the place of theirs."""
        held = dict(zip(updates.clients, updates.examples.tolist(), strict=True))
        total = self.total.clone()
        for client, count in held.items():
            total += count * own[client] - self.examples.get(client, 0) * self.of(client)
        return replace(
            self, total=total, own={**self.own, **own}, examples={**self.examples, **held}
        )


class Correction(Protocol):
    """How clients' work is corrected for the differences between their data."""

    averages: ClassVar[bool]
    """Whether the model is the mean of what clients send, so that updates add up to it."""

    def check(self, work: LocalWork, server: ServerOptimizer) -> None:
        """Raise `Refused` for work or steps of the server that it does not cover."""

    def corrected(self, work: LocalWork) -> LocalWork:
        """Return ``work`` as it is asked for."""

    def sent(self, known: ControlVariates, client: ClientId) -> Vector:
        """Return what is sent to a client along with the model, [d]."""

    def own(
        self, known: ControlVariates, client: ClientId, delta: Vector, steps: int, lr: float
    ) -> Vector:
        """Return a client's next vector [d], once it has sent ``delta`` [d] after ``steps``."""

    def settled(self, weights: Vector, known: ControlVariates) -> Vector:
        """Return the model [d] that follows from the server's step ``weights`` [d]."""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """SCAFFOLD, option II: a step goes along ``g_k(w) - c_k + c``.

    After K steps with learning rate l, ``c_k <- c_k - c + (w_t - w_k) / (K l)``, the mean gradient
    on client k's way; c is the mean of all c_k, weighted by records. With full participation a
    round's fixed point is the optimum of the weighted mean of the clients' losses, however many
    local steps there are; that of FedAvg is not, where clients differ.

    Karimireddy, Kale, Mohri, Reddi, Stich, Suresh. SCAFFOLD: stochastic controlled averaging for
    federated learning. ICML 2020, arXiv 1910.06378.
    """

    averages: ClassVar[bool] = True

    def check(self, work: LocalWork, server: ServerOptimizer) -> None:
        """Refuse work whose way is not its number of steps times their mean gradient."""
        plain = isinstance(work.optimizer, Sgd) and not work.optimizer.momentum
        if not plain or any((work.clip_norm, work.bound, work.straggling)):
            raise checks.Refused(
                "SCAFFOLD reads clients' gradients out of their updates, which it can for plain "
                "SGD of known steps only: set training.work.optimizer.momentum=0, training.work."
                "clip_norm=null and training.work.straggling=null, or choose training=feddyn."
            )

    def corrected(self, work: LocalWork) -> LocalWork:
        """Add ``<c - c_k, w>`` to the objective."""
        return replace(work, objective=Corrected(work.objective))

    def sent(self, known: ControlVariates, client: ClientId) -> Vector:
        """Return ``c - c_k``."""
        return known.mean - known.of(client)

    def own(
        self, known: ControlVariates, client: ClientId, delta: Vector, steps: int, lr: float
    ) -> Vector:
        """Return ``c_k - c - delta / (K l)``."""
        return known.of(client) - known.mean - delta / (steps * lr)

    def settled(self, weights: Vector, known: ControlVariates) -> Vector:
        """Return the server's step as it is."""
        return weights


@dataclass(frozen=True, slots=True)
class FedDyn:
    """FedDyn: clients minimise ``f_k(w) - <g_k, w> + alpha/2 |w - w_t|^2``.

    Then ``g_k <- g_k - alpha (w_k - w_t)``, and the model is ``mean_k w_k - h / alpha`` with h the
    mean of all g_k, weighted by records. At its fixed point every g_k is the client's gradient and
    h = 0: the optimum of the weighted mean of the clients' losses.

    Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama. Federated learning based on dynamic
    regularization. ICLR 2021, arXiv 2111.04263.
    """

    averages: ClassVar[bool] = False

    alpha: Positive = 0.1
    """Pull towards the model that the server sent; the smaller, the longer the server's steps."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def check(self, work: LocalWork, server: ServerOptimizer) -> None:
        """Refuse work with a bound, and a server that steps otherwise."""
        if work.bound is not None or server != FedAvg():
            raise checks.Refused(
                "FedDyn makes the server's step itself: training.server must be FedAvg with lr=1, "
                "and training.work.bound null. Set training=feddyn."
            )

    def corrected(self, work: LocalWork) -> LocalWork:
        """Add ``-<g_k, w> + alpha/2 |w - w_t|^2`` to the objective."""
        return replace(work, objective=Corrected(work.objective, self.alpha))

    def sent(self, known: ControlVariates, client: ClientId) -> Vector:
        """Return ``-g_k``."""
        return -known.of(client)

    def own(
        self, known: ControlVariates, client: ClientId, delta: Vector, steps: int, lr: float
    ) -> Vector:
        """Return ``g_k - alpha delta``."""
        return known.of(client) - self.alpha * delta

    def settled(self, weights: Vector, known: ControlVariates) -> Vector:
        """Return ``w - h / alpha``."""
        return weights - known.mean / self.alpha


def corrected_rounds(
    clients: Clients,
    correction: Correction,
    server: ServerOptimizer,
    weights: Vector,
    first: int,
    last: int,
    work: LocalWork,
) -> Iterator[tuple[Updates, Vector]]:
    """Run rounds as `training.run_rounds` does, with corrected work; all vectors begin at zero.

    Raises `Refused` for work that the correction does not cover.
    """
    correction.check(work, server)
    state, asked = server.start(weights), correction.corrected(work)
    known = ControlVariates(len(clients.ids), torch.zeros_like(weights))
    for number in range(first, last + 1):

        def sent(client: ClientId, known: ControlVariates = known) -> Vector:
            return correction.sent(known, client)

        updates = clients.train(weights, work=asked, round=number, other=sent)
        if updates.clients:
            heard = zip(updates.clients, updates.deltas, updates.examples.tolist(), strict=True)
            own = {
                client: correction.own(known, client, delta, len(work.sizes(held)), work.lr(number))
                for client, delta, held in heard
            }
            known = known.then(updates, own)
            weights, state = server.step(weights, mean(updates.deltas, updates.examples), state)
            weights = correction.settled(weights, known)
        yield updates, weights
