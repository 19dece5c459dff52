"""Both tables of costs for people's terminals; 100 columns are enough."""

from collections.abc import Hashable, Mapping
from math import isinf, isnan
from typing import Any

import pandas as pd
from rich.table import Table

from fedunlearn.results import amount, in_order, marked, span, terminal_table
from fedunlearn.results.costing.pay_off import COSTS

COSTS_LEGEND = (
    "Time to forget: mean, and 5-95 % over seeds and draws of devices; it counts unlearning and "
    "recovery. Share of retraining: that time over retraining's, on the same devices."
)
"""How to read `costs_printed`."""

BREAK_EVEN_LEGEND = (
    "The number of requests from which on a strategy costs less in all than retraining, what "
    "training stored and gathered for it included; in parentheses 5-95 %. 0: from the start."
)
"""How to read `break_even_printed`."""


def costs_printed(costs: pd.DataFrame) -> Table:
    """Return a row for each request and strategy of `table.costs_table`."""
    headings = ["Client\nepochs", "MB\nsent", "MB\nstored", "\nRounds"]
    headings += ["Time to\nforget", "\n5-95 %", "Share of\nretraining"]
    title = "Costs of a request, unlearning and recovery"
    table = terminal_table("\nStrategy", headings, title=title)
    for request, rows in costs.groupby("request"):
        if costs["request"].nunique() > 1:
            table.add_row(f"Request {request}", style="italic")
        for row in rows.to_dict("records"):
            table.add_row(
                marked(row["strategy"])[0],
                amount(row["client_epochs"]),
                amount((row["bytes_down"] + row["bytes_up"]) / 1e6),
                amount(row["store_bytes"] / 1e6),
                amount(row["rounds"]),
                span(row["seconds"]),
                f"{span(row['seconds_low'])} - {span(row['seconds_high'])}",
                "" if isnan(row["relative"]) else f"{row['relative']:.2f}",
            )
        table.add_section()
    return table


def break_even_printed(requests: pd.DataFrame) -> Table:
    """Return a row for each strategy of `break_even.break_even`, a column for each cost."""
    headings = [f"in {cost.replace('_', ' ')}" for cost in COSTS]
    title = "Requests until cheaper than retraining"
    table = terminal_table("Strategy", headings, title=title)
    by_cost = {(row["strategy"], row["cost"]): row for row in requests.to_dict("records")}
    for strategy in in_order(requests["strategy"]):
        table.add_row(strategy, *(_needed(by_cost[strategy, cost]) for cost in COSTS))
    return table


def _needed(row: Mapping[Hashable, Any]) -> str:
    values = [row["requests"], row["requests_low"], row["requests_high"]]
    middle, low, high = ("never" if isinf(n) else "" if isnan(n) else f"{n:,.0f}" for n in values)
    return middle if low == high == middle else f"{middle} ({low} - {high})"
