"""What an unlearning method is: read this file before you write one.

A strategy is a frozen dataclass of hyperparameters. It declares what training must record
(`needs`), and when clients leave it yields the global model after every unlearning round
(`unlearn`). Whoever loops over it gets the forgetting curve, the cost curve and early stopping.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import ClassVar, Literal, Protocol

import numpy as np
from torch import Tensor

from fedunlearn.data import ClientId
from fedunlearn.history import History, Needs, Updates
from fedunlearn.local import LocalWork, Mask, Part, Query
from fedunlearn.models import Vector
from fedunlearn.unlearning.requests import Request
from fedunlearn.unlearning.server_data import ServerData
from fedunlearn.unlearning.verifier import Verifier

Second = Vector | Callable[[ClientId], Vector]
"""A second model [d] that is sent along with the first: one for all, or each client's own."""


class Clients(Protocol):
    """Those who remain. Every call is charged to the ledger; asking a leaver raises."""

    @property
    def ids(self) -> frozenset[ClientId]:
        """Who may be asked."""

    @property
    def work(self) -> LocalWork:
        """What a client does in an ordinary round."""

    @property
    def proxy(self) -> ServerData:
        """Unlabelled records on the server; raises unless `Needs.proxy` was declared."""

    @property
    def verifier(self) -> Verifier:
        """What the server can test by itself; raises unless `Needs.verifies` was declared."""

    @property
    def leavers(self) -> "Clients":
        """Those who leave; raises unless `Needs.leaver` was declared."""

    def narrowed(self, needs: Needs) -> "Clients":
        """Return the same clients for a strategy that another one runs: just what it ``needs``.

        Raises PermissionError where that is more than the other one declared.
        """

    def parted(self, part: Part | None) -> "Clients":
        """Return the same clients, whose `leavers` show just ``part`` of what is to be forgotten.

        With each message they are sent the model by which they rank, and a pass is charged for it.
        """

    def train(
        self,
        weights: Vector,
        who: Collection[ClientId] | None = None,
        work: LocalWork | None = None,
        *,
        round: int,
        other: Second | None = None,
        mask: Mask | None = None,
    ) -> Updates:
        """Let clients train from ``weights`` [d] and return their updates.

        ``who`` defaults to the cohort that the schedule draws for training round ``round`` from
        those who remain, ``work`` to the ordinary work; ``other`` is a second model that is sent
        along for work which compares with it, and ``mask`` says how far which coordinates may move:
        only what may is sent back, and the rest of an update is 0. All randomness is a function of
        the run's seed, ``round`` and the client: never of the order of calls or of who else is
        asked.
        Raises PermissionError if ``who`` names a client who left, and unless `Needs.remaining`
        was declared, with a mask `Needs.masks` as well.
        """

    def rounds(
        self, weights: Vector, first: int, last: int, work: LocalWork | None = None
    ) -> Iterator[tuple[Updates, Vector]]:
        """Run ordinary training rounds ``first … last`` from ``weights`` [d].

        Yields each round's updates and the model after it, aggregated as in training. ``work``
        defaults to the ordinary work.
        """

    def query(
        self,
        weights: Vector,
        query: Query,
        who: Collection[ClientId] | None = None,
        *,
        round: int,
    ) -> Mapping[ClientId, Mapping[str, Tensor]]:
        """Return the sums of ``query`` over each client's records, on the model ``weights`` [d].

        ``who`` defaults to all who are there in training round ``round``, in a cohort or not; the
        records are those that they hold then. Nobody trains. Raises `Refused` for a model of which
        it cannot be asked, and PermissionError as `train` does.
        """

    def rng(self, round: int) -> np.random.Generator:
        """Return the server's random numbers of unlearning round ``round``.

        They are a function of the run's seed and of ``round``, apart from those of all clients.
        """

    def note(self, name: str, value: float) -> None:
        """Keep a number for requests to come, which find it in ``history.notes``.

        requests.csv shows the notes after each request. Raises PermissionError unless a request
        is being served.
        """


Guarantee = Literal["none", "certified", "exact"]
"""What a method's own mathematics promises: nothing, indistinguishable from retraining within a
stated (epsilon, delta), or the distribution of retraining itself."""


class UnlearningStrategy(Protocol):
    """One unlearning method."""

    guarantee: ClassVar[Guarantee]
    """What the method promises. Where that is "certified", ``assumptions`` are sentences that say
    under which conditions, and deletion certificates list them."""

    @property
    def needs(self) -> Needs:
        """What training must record for it."""

    def length(self, request: Request) -> int:
        """Return how many models `unlearn` will yield, for progress bars and estimates.

        Recovery rounds after an earlier request are stored as well, and may add to it.
        """

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the global model [d] after every unlearning round.

        ``history`` holds what `needs` declared, the leavers' updates included. The first model
        yielded is the result of round 1; the model before it is ``history.final``.
        """
