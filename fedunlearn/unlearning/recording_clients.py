"""What becomes of the stored rounds when a strategy goes back and trains on from there."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history import History, Needs, Round, Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Vector
from fedunlearn.unlearning.server_data import Proxy
from fedunlearn.unlearning.strategy import Clients


@dataclass
class Redoing:
    """Clients as a strategy is handed them; notes the training rounds that it runs again.

    Only where the strategy declares `Needs.replaces`: others train models that are not the next
    one in line. See `strategy.Clients`.
    """

    clients: Clients
    history: History
    """Without the leavers; round by round, what is redone takes its place in it."""
    last: int
    """The training round of the request; later rounds are none that were done before."""
    needs: Needs
    replaces: bool
    """Whether the strategy declared it."""

    @property
    def ids(self) -> frozenset[ClientId]:
        """Who may be asked."""
        return self.clients.ids

    @property
    def work(self) -> LocalWork:
        """What a client does in an ordinary round."""
        return self.clients.work

    @property
    def proxy(self) -> Proxy:
        """Unlabelled records on the server."""
        return self.clients.proxy

    @property
    def leavers(self) -> Clients:
        """Those who leave."""
        return self.clients.leavers

    def rng(self, round: int) -> np.random.Generator:
        """Return the server's random numbers of an unlearning round."""
        return self.clients.rng(round)

    def train(
        self,
        weights: Vector,
        who: Collection[ClientId] | None = None,
        work: LocalWork | None = None,
        *,
        round: int,
        other: Vector | None = None,
    ) -> Updates:
        """Let clients train; see `strategy.Clients.train`."""
        return self.clients.train(weights, who, work, round=round, other=other)

    def statistics(self, weights: Vector) -> Mapping[ClientId, Tensor]:
        """Ask everybody for sums over their records; see `strategy.Clients.statistics`."""
        return self.clients.statistics(weights)

    def rounds(
        self, weights: Vector, first: int, last: int, work: LocalWork | None = None
    ) -> Iterator[tuple[Updates, Vector]]:
        """Run ordinary rounds; see `strategy.Clients.rounds`."""
        served = self.clients.rounds(weights, first, last, work)
        for number, (updates, after) in enumerate(served, first):
            if self.replaces and number <= self.last:
                done = Round(number, updates, int(updates.examples.sum()), weights)
                self.history = self.history.redone(done, after, self.needs)
            yield updates, after
            weights = after
