"""When requests came, and what training had stored by then."""

import pandas as pd

from fedunlearn.results import Wish, further_references


def request_times(summary: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return who asked when: columns ``request, clients, scope, after``, a row a request.

    ``after`` is the last training round before it, the same for all strategies.
    """
    training = metrics[metrics["phase"] == "train"]
    rows = []
    for request, served in summary.groupby("request"):
        before = training.loc[training["request"] < request, "round"]
        asked = Wish.of(served)
        rows.append((request, asked.clients, asked.scope, before.max()))
    return pd.DataFrame(rows, columns=["request", "clients", "scope", "after"])


def stored_by_request(summary: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the megabytes that training kept for each strategy by each request; seeds' means.

    Columns ``request, strategy, after, stored, per_round``: ``after`` rounds of training.
    """
    shown = summary[~further_references(summary)]
    megabytes = shown.groupby(["request", "strategy"], sort=False)["store_bytes"].mean() / 1e6
    table = megabytes.rename("stored").reset_index()
    table = table.merge(request_times(summary, metrics)[["request", "after"]], on="request")
    return table.assign(per_round=table["stored"] / table["after"])
