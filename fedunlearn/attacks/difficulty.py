"""What makes a client hard to forget: how far it is memorised, and how entangled with the rest."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from fedunlearn.attacks import memorization
from fedunlearn.attacks.difficulty_tables import (
    client_rows,
    moments_of,
    pair_rows,
    proxy_rows,
    record_rows,
)
from fedunlearn.attacks.memorization import Memorization
from fedunlearn.attacks.proxies import require_watchable, watched
from fedunlearn.attacks.subset_banks import (
    Ground,
    Tell,
    bank_of_clients,
    bank_of_records,
    clients_taken,
    left_out,
    records_taken,
    require_bank,
)
from fedunlearn.checks import Refused
from fedunlearn.data import Federation, build_federation
from fedunlearn.experiment import Experiment
from fedunlearn.flower import Local
from fedunlearn.results import DIFFICULTY_COLUMNS, PROXY_COLUMNS


@dataclass(frozen=True)
class DifficultyTables:
    """Tables of one federation."""

    clients: pd.DataFrame
    """A row a client: difficulty.csv."""
    proxies: pd.DataFrame
    """A row a proxy, and first what it is judged by: difficulty_proxies.csv."""
    pairs: pd.DataFrame
    """A row for each two clients: entanglement.csv."""
    records: pd.DataFrame
    """A row a record, which no message of a federation would carry: difficulty_records.csv."""


@dataclass(frozen=True)
class Difficulty:
    """A federation, and from how many models its difficulty is estimated."""

    experiment: Experiment
    seed: int
    models: int = 64
    """Of either bank: models on parts of the clients, and on parts of their records."""
    share: float = 0.7
    """Share of the clients, or of the records, that one of them trains on."""
    pairs: int = 0
    """Models with everybody and without each client, of the same seeds; 0: none."""
    engine: Local = field(default_factory=Local)

    def __post_init__(self) -> None:
        """Raise `Refused` for what cannot be asked, before anything is trained."""
        require_bank(self.models, self.share)
        if self.pairs < 0:
            raise Refused(f"--left-out must be a whole number of at least 0, not {self.pairs}.")
        require_watchable(self._ground)
        clients, records = len(self._ground.present), len(self._ground.records)
        clients_taken(clients, self.models, self.share, self.seed)
        records_taken(records, self.models, self.share, self.seed)

    @property
    def federation(self) -> Federation:
        """Who holds what."""
        return self._ground.federation

    @property
    def to_train(self) -> int:
        """How many models there will be."""
        clients = len(self._ground.present)
        return 2 * self.models + (1 + clients) * (1 + self.pairs)

    def found(self, tell: Tell) -> DifficultyTables:
        """Train the models, and return the tables."""
        ground = self._ground
        seen = watched(ground, tell)
        by_clients = bank_of_clients(ground, self.models, self.share, tell)
        by_records = bank_of_records(ground, self.models, self.share, tell)
        alone = self._left_out(tell)
        moments = moments_of(ground, seen)
        clients = client_rows(ground, seen, by_clients, by_records, alone, moments)
        return DifficultyTables(
            clients=clients.astype(DIFFICULTY_COLUMNS),
            proxies=proxy_rows(ground, seen, by_records, clients).astype(PROXY_COLUMNS),
            pairs=pair_rows(ground, moments),
            records=record_rows(ground, seen, by_clients, by_records),
        )

    @cached_property
    def _ground(self) -> Ground:
        federation = build_federation(self.experiment.scenario(self.seed))
        trainer = self.engine.trainer(federation.scenario)
        return Ground.of(federation, trainer, self.experiment.training)

    def _left_out(self, tell: Tell) -> Memorization:
        """Return the memorization of clients by models of pairs; nan where there are none."""
        owner = self._ground.owner
        nothing = np.full(len(self._ground.present), np.nan)
        if not self.pairs:
            return Memorization(nothing, nothing)
        with_all, without = left_out(self._ground, self.pairs, tell)
        each = [
            memorization.of_pairs(
                with_all[:, owner == place].mean(axis=1), right[:, owner == place].mean(axis=1)
            )
            for place, right in enumerate(without)
        ]
        values, errors = zip(*((one.value, one.error) for one in each), strict=True)
        return Memorization(np.concatenate(values), np.concatenate(errors))
