"""Who of a finished run's clients may have wrong labels, and which of their records.

The federation is trained again up to the first request, for what clients sent was deleted with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from fedunlearn import checks
from fedunlearn.attacks.attack import require_same_data
from fedunlearn.attacks.suspicion import found_first, looks, ranked, record_losses
from fedunlearn.checks import Refused
from fedunlearn.data import FROM_THE_START, Federation, Held, build_federation
from fedunlearn.experiment import Experiment, all_clients, before_training
from fedunlearn.flower import Connection
from fedunlearn.models import Vector
from fedunlearn.results import SHARED_TRAINING, Run


@dataclass(frozen=True)
class Found:
    """What was found under one seed; both tables begin with the most suspicious."""

    clients: pd.DataFrame
    """By the server: the columns of `ranked`, and whether anything was ``planted`` at a client."""
    records: pd.DataFrame
    """By each client alone, of its own records: number, loss, rank, and whether it is planted."""

    @property
    def clients_found(self) -> float:
        """How often a planted client is more suspicious than another; nan where there is none."""
        compared = self.clients[self.clients["suspicion"].notna()]
        return found_first(list(compared["suspicion"]), list(compared["planted"]))

    @property
    def among_the_first(self) -> float:
        """The share of planted clients among as many of the most suspicious."""
        planted = int(self.clients["planted"].sum())
        return float(self.clients["planted"].head(planted).mean())

    @property
    def records_found(self) -> float:
        """The same as `clients_found` of records, within each client with planted ones; a mean."""
        areas = [
            found_first(list(mine["loss"]), list(mine["planted"]))
            for _, mine in self.records.groupby("client")
        ]
        return float(pd.Series(areas, dtype="float64").mean())


@dataclass(frozen=True)
class Suspects:
    """A finished run, whose clients are looked at as its server might have."""

    experiment: Experiment
    run: Run

    def __post_init__(self) -> None:
        """Raise `Refused` where nothing can be told, before anything is trained."""
        if not self.experiment.proxy:
            raise Refused(
                f"The server of the run in {self.run.folder} has no records (proxy=0) on which to "
                "tell good updates from bad ones. Run it again with proxy=0.1, say."
            )
        if self.experiment.partition.clients < 2:
            raise Refused(
                f"The run in {self.run.folder} has one client, and nobody to compare it with. Run "
                "it again with more clients."
            )

    def found(self, seed: int) -> Found:
        """Train under one of the run's seeds and look at every update on its way.

        Raises `Refused` for a seed of no run, and where its records are not those of the run.
        """
        seeds = sorted(map(int, set(self.run.clients["seed"])))
        checks.member("--seed", str(seed), map(str, seeds))
        require_same_data(self.experiment, self.run, seed)
        federation = build_federation(self.experiment.scenario(seed))
        rows: list[dict[str, Any]] = []
        final: list[Vector] = []

        def job(connection: Connection) -> None:
            for row, weights in self._followed(federation, connection):
                rows.extend(row)
                final[:] = [weights]

        self.experiment.engine.run(federation.scenario, job, self.experiment.kinds)
        holders = sorted(federation.holdings.present(self._last, 0))
        table = ranked(rows, holders)
        planted = [bool(federation.source.planted[client].any()) for client in table["client"]]
        records = pd.concat(
            [self._records(federation, final[-1], client) for client in table["client"]],
            ignore_index=True,
        )
        return Found(table.assign(planted=planted), records)

    @property
    def _last(self) -> int:
        """The round up to which everybody trains together."""
        requests = self.experiment.requests
        return requests[0].after if requests else self.experiment.training.rounds

    def _followed(
        self, federation: Federation, connection: Connection
    ) -> Iterator[tuple[list[dict[str, Any]], Vector]]:
        """Yield what each round tells the server, and the model after it."""
        state = before_training(federation, self.experiment.policy)
        everybody = all_clients(self.experiment, federation, connection, SHARED_TRAINING)
        clients = everybody.scoped(state.access())
        own = federation.server_records()
        own = own.to(torch.device(self.experiment.engine.device))
        before = state.history.final
        for updates, after in clients.rounds(before, FROM_THE_START, self._last):
            yield looks(federation.network, before, updates, own), after
            before = after

    def _records(self, federation: Federation, weights: Vector, client: int) -> pd.DataFrame:
        """Rank what a client holds by its loss on the model, as it could by itself."""
        records, planted = federation.train[client], federation.source.planted[client]
        held = federation.holdings.partial(Held(self._last, 0)).get(client)
        held = torch.ones(len(planted), dtype=torch.bool) if held is None else held
        numbers = torch.nonzero(held).flatten()
        losses = record_losses(federation.network, weights, records.take(held))
        columns = {"record": numbers.tolist(), "loss": losses.tolist()}
        table = pd.DataFrame({**columns, "planted": planted[held].tolist()})
        table.insert(0, "client", client)
        table = table.sort_values("loss", ascending=False, kind="stable", ignore_index=True)
        return table.assign(rank=range(1, len(table) + 1))
