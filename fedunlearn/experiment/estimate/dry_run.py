"""What a run will cost: the real driver, with clients who are charged for but do not train.

`train` and `forget` ask as in a run, so whatever a strategy asks is counted as
often as it asks. That is exact unless it depends on what clients learn: a strategy that stops
early, or chooses whom to ask by their updates, is counted for updates that are made up, and one
whose arithmetic fails on them is refused. Clients who fail are not foreseen.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedunlearn.checks import Refused
from fedunlearn.data import Federation, build_federation
from fedunlearn.experiment import Experiment, before_training, recorded_by, server_data
from fedunlearn.experiment.estimate.dry_clients import DryServerData, MadeUpRound, dry_clients
from fedunlearn.experiment.estimate.timing import Pace
from fedunlearn.history import RecordedRound, Round, encodings
from fedunlearn.results import SHARED_TRAINING
from fedunlearn.unlearning import (
    SERVER_ID,
    Clock,
    FederationState,
    Ledger,
    Moment,
    ScopedClients,
    Steps,
    UnlearningStrategy,
    forget,
    train,
)


def estimate(
    experiment: Experiment,
    seeds: Sequence[int],
    pace: Pace,
    clock: Clock = time.perf_counter,
) -> pd.DataFrame:
    """Return a row for each training (phase ``train``) and each request that a strategy serves.

    The latter has phase ``unlearn`` and includes recovery, as a row of summary.csv does, and the
    columns are called as there, but ``seconds`` pass on the clock. ``messages`` are models sent
    and received, ``store_bytes`` of a training what is kept for all strategies together.
    ``clock`` times the server's arithmetic. Raises `Refused` for a strategy that fails on updates
    that are made up.
    """
    runs = (
        DryRun.of(experiment, build_federation(experiment.scenario(seed)), pace, clock)
        for seed in seeds
    )
    return pd.DataFrame([row for run in runs for row in run.rows()])


@dataclass(frozen=True, slots=True)
class DryRun:
    """One seed, counted in the order in which `SeedRun` runs it."""

    experiment: Experiment
    federation: Federation
    pace: Pace
    clock: Clock = time.perf_counter

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        federation: Federation,
        pace: Pace,
        clock: Clock = time.perf_counter,
    ) -> "DryRun":
        """Count ``experiment`` as it is run within its budget."""
        return cls(
            experiment.within_budget(federation.network.layout.size)[0], federation, pace, clock
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Count the training that all share, then each strategy from where that ends."""
        requests = self.experiment.requests
        last = requests[0].after if requests else self.experiment.training.rounds
        start = before_training(self.federation, self.experiment.policy)
        start = recorded_by(self._record, start)
        clients = self._clients(SHARED_TRAINING)
        steps = train(start, clients, last, self.experiment.needs)
        state, row = self._counted(SHARED_TRAINING, steps, clients.ledger)
        yield {**row, "seconds": row["seconds"] + self.pace.start}
        for name, strategy in self.experiment.branches.items():
            for row in self._branch(name, strategy, state):
                if row["rounds"] or row["phase"] == "unlearn":
                    yield row

    def _branch(
        self, name: str, strategy: UnlearningStrategy, state: FederationState
    ) -> Iterator[dict[str, Any]]:
        """Count all requests, and the training between them and after them."""
        needs, recovery = strategy.needs, self.experiment.recovery
        clients = self._clients(name)
        holdings = self.federation.holdings
        for number, request in enumerate(self.experiment.requests, start=1):
            steps = train(state, clients, request.after, needs)
            state, row = self._counted(name, steps, clients.ledger)
            yield row
            stored = state.history.select(strategy.needs, state.round).nbytes
            served = holdings.asking(number), strategy, recovery, clients, needs
            steps = forget(state, *served, request.scope, holdings.since(number))
            state, row = self._counted(name, steps, clients.ledger)
            yield {**row, "store_bytes": stored}
        steps = train(state, clients, self.experiment.training.rounds, needs)
        yield self._counted(name, steps, clients.ledger)[1]

    def _counted(
        self, name: str, steps: Steps, ledger: Ledger
    ) -> tuple[FederationState, dict[str, Any]]:
        """Take all steps; return where they end and what they cost."""
        began, charged = self.clock(), len(ledger.charges)
        try:
            state, moments = _followed(steps)
        except Refused:
            raise
        except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
            raise Refused(
                f"strategy={name} cannot be estimated: it fails on updates that are made up "
                f"({error}). Leave it out of strategies."
            ) from error
        seconds = self.clock() - began  # of the server's own arithmetic
        spent = Ledger(charges=ledger.charges[charged:])
        by_clients = sum(charge.samples for charge in spent if charge.client != SERVER_ID)
        seconds += spent.seconds + by_clients / self.pace.samples
        seconds += sum(map(self.experiment.measures, moments)) * self.pace.evaluation
        return state, {
            "seed": self.federation.scenario.seed,
            "strategy": name,
            "request": state.request,
            "phase": moments[0].phase if moments else "train",
            "bytes_down": spent.bytes_down,
            "bytes_up": spent.bytes_up,
            "messages": spent.messages,
            "client_epochs": spent.client_epochs,
            "samples": spent.samples,
            "rounds": sum(moment.round > 0 for moment in moments),
            "seconds": seconds,
            "store_bytes": state.history.nbytes,
        }

    def _clients(self, name: str) -> ScopedClients:
        """Return all clients as the branch ``name`` asks them, charging a new ledger."""
        real = server_data(self.experiment, self.federation, name, Ledger())
        unlabelled = DryServerData(real, self.pace.distilling)
        train, holdings = self.federation.train, self.federation.holdings
        return dry_clients(train, holdings, self.experiment.training, unlabelled)

    def _record(self, done: Round) -> RecordedRound:
        """Keep a round in the encoding of a run: this is the only place where one counts."""
        store, size = self.experiment.store, self.federation.network.layout.size
        on_disk = store.on_disk(self.experiment.stored_bytes(size))
        encoding = encodings.of(store.encoding if on_disk else "float32")
        return MadeUpRound.of(done, size, encoding)


def _followed(steps: Steps) -> tuple[FederationState, list[Moment]]:
    moments: list[Moment] = []
    while True:
        try:
            moments.append(next(steps).moment)
        except StopIteration as stop:
            return stop.value, moments
