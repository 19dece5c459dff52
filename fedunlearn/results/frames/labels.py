"""Who holds how many records of which label, and who leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from fedunlearn.results import EVERYTHING, NOBODY_NAMED, SEVERAL, Wish, called

FEW_CLIENTS, FEW_LABELS = 20, 25
"""Up to so many, each cell has room for its number."""


@dataclass(frozen=True)
class LabelCounts:
    """How a seed divides the training records, and who leaves or has some erased."""

    seed: int
    counts: pd.DataFrame
    """Records [labels, clients], in the order in which both are named in the run's files."""
    leavers: frozenset[int]
    owners: Mapping[int, str] = field(default_factory=dict)
    """What people call each client, where the data set names owners."""
    scope: str = EVERYTHING
    """Which of their records the leavers ask for."""

    @property
    def clients(self) -> list[int]:
        """All clients, ascending."""
        return [int(client) for client in self.counts.columns]

    @property
    def most(self) -> int:
        """The largest number in a cell."""
        return int(self.counts.to_numpy().max())

    @property
    def few(self) -> bool:
        """Whether numbers fit into the cells."""
        return self.counts.shape[0] <= FEW_LABELS and self.counts.shape[1] <= FEW_CLIENTS

    @property
    def records(self) -> pd.DataFrame:
        """The same as rows ``client, label, train, leaver``; with owners, ``called`` as well."""
        rows = self.counts.melt(ignore_index=False, value_name="train").reset_index()
        rows = rows[["client", "label", "train"]]
        rows = rows.assign(leaver=rows["client"].isin(self.leavers))
        names = [called(int(client), self.owners) for client in rows["client"]]
        return rows.assign(called=names) if self.owners else rows

    @property
    def asked(self) -> Wish:
        """What the leavers ask for, all requests as one."""
        return Wish("+".join(map(str, sorted(self.leavers))), self.scope, self.owners)


def label_counts(
    clients: pd.DataFrame, summary: pd.DataFrame, owners: Mapping[int, str] = NOBODY_NAMED
) -> LabelCounts:
    """Return the division under the first seed: unless ``split`` is set, each divides anew."""
    seed = int(clients["seed"].min())
    mine = clients[clients["seed"] == seed]
    counts = mine.pivot_table("train", "label", "client", aggfunc="sum", sort=False)
    named = "+".join(map(str, summary["clients"])).split("+")
    leavers = frozenset(int(client) for client in named if client)
    scopes = set(summary["scope"]) if "scope" in summary else {EVERYTHING}
    scope = scopes.pop() if len(scopes) == 1 else SEVERAL
    return LabelCounts(seed, counts.sort_index(axis="columns"), leavers, owners, scope)
