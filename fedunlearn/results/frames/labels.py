"""Who holds how many records of which label, and who leaves."""

from dataclasses import dataclass

import pandas as pd

from fedunlearn.results import who

FEW_CLIENTS, FEW_LABELS = 20, 25
"""Up to so many, each cell has room for its number."""


@dataclass(frozen=True)
class LabelCounts:
    """How a seed divides the training records, and who leaves."""

    seed: int
    counts: pd.DataFrame
    """Records [labels, clients], in the order in which both are named in the run's files."""
    leavers: frozenset[int]

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
        """The same as rows ``client, label, train, leaver``; the last says whether it leaves."""
        rows = self.counts.melt(ignore_index=False, value_name="train").reset_index()
        rows = rows[["client", "label", "train"]]
        return rows.assign(leaver=rows["client"].isin(self.leavers))

    @property
    def who(self) -> str:
        """The leavers in words."""
        return who("+".join(map(str, sorted(self.leavers))))


def label_counts(clients: pd.DataFrame, summary: pd.DataFrame) -> LabelCounts:
    """Return the division under the first seed: unless ``split`` is set, each divides anew."""
    seed = int(clients["seed"].min())
    mine = clients[clients["seed"] == seed]
    counts = mine.pivot_table("train", "label", "client", aggfunc="sum", sort=False)
    named = "+".join(map(str, summary["clients"])).split("+")
    leavers = frozenset(int(client) for client in named if client)
    return LabelCounts(seed, counts.sort_index(axis="columns"), leavers)
