"""The estimate of a run as a table for people."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.table import Table

from fedunlearn.results import (
    RETRAIN_AGAIN,
    SHARED_TRAINING,
    amount,
    further_references,
    in_order,
    marked,
    terminal_table,
)

COLUMNS = {
    "MB\nstored": ("store_bytes", 1e6),
    "MB\ndown": ("bytes_down", 1e6),
    "MB\nup": ("bytes_up", 1e6),
    "\nMessages": ("messages", 1),
    "Client\nepochs": ("client_epochs", 1),
    "\nModels": ("rounds", 1),
    "\nSeconds": ("seconds", 1),
}
"""The headings of the table, and what stands below them in which unit."""

TRAINING, TRAINING_ON = "(training)", "(training on)"
"""Rows of the table: the rounds before the first request, and all other ordinary ones."""

ESTIMATE_LEGEND = (
    f"{TRAINING}: what all strategies start from, and what it stores serves all of them. "
    f"{TRAINING_ON}: between and after the requests, all strategies together."
)
"""What the table leaves unsaid."""


def estimated_costs(costs: pd.DataFrame) -> Table:
    """Return a row a strategy, for one seed, and the sum over seeds; 100 columns are enough.

    Stored for a strategy is what its largest request needs; a sum there would mean nothing. All
    references of a seed after the first are one row.
    """
    seeds, served = costs["seed"].nunique(), costs["phase"] == "unlearn"
    title = "Expected costs of one seed" + (f" (mean of {seeds})" if seeds > 1 else "")
    table = terminal_table("\nStrategy", COLUMNS, title=title, gap=2)
    others = costs.loc[further_references(costs), "strategy"]
    again = f"{RETRAIN_AGAIN}, {others.nunique()}x"
    rows = costs["strategy"].mask(costs["strategy"].isin(others), again)
    rows = rows.where(served, TRAINING_ON).where(costs["strategy"] != SHARED_TRAINING, TRAINING)
    how = {name: "max" if name == "store_bytes" else "sum" for name, _ in COLUMNS.values()}
    means = costs.groupby([rows, "seed"]).agg(how).groupby(level=0).mean().to_dict("index")
    first, *strategies = in_order(costs.loc[served, "strategy"]) or [""]
    for row in [TRAINING, first, again, *strategies, TRAINING_ON]:
        if row in means:
            name, style = marked(row)
            table.add_row(name, *_cells(means[row]), style=style)
    table.add_section()
    _, *sums = _cells(costs[[*how]].sum())
    table.add_row(f"all, {seeds} seeds" if seeds > 1 else "all", "", *sums)
    return table


def _cells(values: Mapping[Any, float] | pd.Series) -> list[str]:
    return [amount(values[name] / unit) for name, unit in COLUMNS.values()]
