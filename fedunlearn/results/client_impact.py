"""Who pays for a deletion: what it does to each client who remains, from a run's files alone."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from fedunlearn.results.before_after import ends
from fedunlearn.results.branches import is_reference
from fedunlearn.results.metric_cards import PART_SEPARATOR
from fedunlearn.results.references import mean_of_others

ACCURACY = f"retained_accuracy{PART_SEPARATOR}"
"""What the metric of one client is called, before its number."""

CASE = ["seed", "strategy", "request"]
"""What one deletion is."""

COLUMNS = ["request", "strategy", "client", "before", "after", "retrained"]

COLUMNS += ["change", "change_sd", "gap", "gap_sd", "similarity", "seeds"]


def who_pays(
    metrics: pd.DataFrame,
    summary: pd.DataFrame,
    clients: pd.DataFrame,
    first: Literal["worst", "similar"] = "worst",
) -> pd.DataFrame:
    """Return a row for each request, strategy and client who remains, with means over seeds.

    ``metrics``, ``summary`` and ``clients`` are the tables of a run's folder (`runs.load`). The
    columns are ``request, strategy, client``; the client's accuracy on its held-out records
    ``before`` the request, ``after`` unlearning and recovery, and that of the model ``retrained``
    without the leavers; ``change = after - before`` and ``gap = after - retrained``, whose sample
    standard deviations over seeds are ``change_sd`` and ``gap_sd`` (nan with one seed);
    ``similarity``, 1 for a client with the leavers' shares of labels and 0 for one with no label
    in common; and ``seeds``, how many there are. ``retrained`` is the mean over the references of
    the seed; for a reference, over the other ones, where there are any. Within a strategy, the
    largest loss of accuracy comes first, or the most similar client.
    The table is empty where the run has no numbers of single clients.

    Where seeds divide the data anew, client k is somebody else in each: ask seed by seed.
    """
    paid = _accuracies(metrics)
    if paid.empty:
        return pd.DataFrame(columns=COLUMNS)
    paid = paid.join(_retrained(paid["after"]))
    paid["change"], paid["gap"] = paid["after"] - paid["before"], paid["after"] - paid["retrained"]
    paid = paid.join(_similarities(summary, clients), on=["seed", "request", "client"])
    grouped = paid.groupby(["request", "strategy", "client"], sort=False)
    table = grouped.mean()
    for column in ("change", "gap"):
        table[f"{column}_sd"] = grouped[column].std()
    table["seeds"] = grouped.size()
    order = ["change", "similarity"] if first == "worst" else ["similarity", "change"]
    table = table.reset_index()
    table["place"] = table["strategy"].map({s: n for n, s in enumerate(table["strategy"].unique())})
    rising = [True, True, *(column == "change" for column in order), True]
    table = table.sort_values(["request", "place", *order, "client"], ascending=rising)
    return table.reset_index(drop=True)[COLUMNS]


def _accuracies(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return ``before`` and ``after`` by seed, strategy, request and client."""
    rows = metrics[metrics["metric"].str.startswith(ACCURACY)]
    numbers = rows["metric"].str.removeprefix(ACCURACY).astype("int64")
    return ends(rows.assign(client=numbers), [*CASE, "client"])


def _retrained(after: pd.Series) -> pd.Series:
    """Return for each case and client the mean over the references, without the case itself."""
    rows = after.rename("value").reset_index()
    goals = mean_of_others(rows, ["seed", "request", "client"], "value")
    alone = rows["strategy"].map(is_reference) & goals.isna()
    rows["retrained"] = goals.mask(alone, rows["value"])
    return rows.set_index([*CASE, "client"])["retrained"]


def _similarities(summary: pd.DataFrame, clients: pd.DataFrame) -> pd.Series:
    """Return ``sum_c min(p_c, q_c)`` of each client's and the leavers' shares of train labels."""
    tables: list[pd.DataFrame] = []
    for (seed, request), rows in summary.groupby(["seed", "request"]):
        mine = clients[clients["seed"] == seed]
        held = mine.pivot_table(index="client", columns="label", values="train")
        named = str(rows["clients"].iloc[0]).split("+")  # pandas itself reads a single one as int
        leaving = [int(client) for client in named if client.isdecimal()]
        gone = held[held.index.isin(leaving)].to_numpy().sum(axis=0)
        counts = held.to_numpy()
        with np.errstate(invalid="ignore"):  # 0 / 0 where nobody left: nan
            shares = np.minimum(counts / counts.sum(axis=1, keepdims=True), gone / gone.sum())
        alike: dict[str, Any] = {"seed": seed, "request": request, "client": held.index}
        tables.append(pd.DataFrame({**alike, "similarity": shares.sum(axis=1)}))
    return pd.concat(tables).set_index(["seed", "request", "client"])["similarity"]
