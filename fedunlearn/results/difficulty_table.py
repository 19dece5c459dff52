"""What makes clients hard to forget as tables for people, and sentences on how to read them."""

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd
from rich.table import Table

from fedunlearn.results.terminal import terminal_table

DIFFICULTY_FILE = "difficulty.csv"
"""A row a client."""

DIFFICULTY_COLUMNS = {
    "client": "int64",
    "records": "int64",
    "planted": "int64",
    "memorization": "float64",
    "memorization_se": "float64",
    "left_out": "float64",
    "left_out_se": "float64",
    "record_memorization": "float64",
    "record_memorization_se": "float64",
    "memorised_share": "float64",
    "entanglement": "float64",
    "entanglement_by_chance": "float64",
    "class_entanglement": "float64",
    "confidence": "float64",
    "max_confidence": "float64",
    "entropy": "float64",
    "accuracy": "float64",
    "holdout_retraining": "float64",
    "curvature": "float64",
}
"""Its columns, and their types; the last six are means over a client's records."""

PROXY_FILE = "difficulty_proxies.csv"
"""A row a proxy; first the memorization of records itself."""

PROXY_COLUMNS = {
    "measure": "str",
    "sign": "int64",
    "spearman": "float64",
    "low": "float64",
    "high": "float64",
    "within_clients": "float64",
    "of_clients": "float64",
    "planted_auc": "float64",
    "planted_auc_low": "float64",
    "planted_auc_high": "float64",
}
"""Its columns, and their types; ``sign`` is 1 for what should rise with memorization, else -1."""

PAIRS_FILE = "entanglement.csv"
"""A row for each two clients."""

RECORDS_FILE = "difficulty_records.csv"
"""A row a record: for the study of proxies, and for scopes that rank records."""

TRUTH = "record_memorization"
"""The measure that proxies are judged by."""

PROXY_NAMES: Mapping[str, str] = {
    "confidence": "confidence",
    "max_confidence": "largest confidence",
    "entropy": "negative entropy",
    "accuracy": "accuracy in training",
    "holdout_retraining": "holdout retraining",
    "curvature": "loss curvature",
}
"""What people call each proxy."""

MOST_SHOWN = 25
"""Clients that the table shows; the hardest first."""


def printed_difficulty(clients: pd.DataFrame) -> Table:
    """Return a row a client, the most memorised first; 100 columns are enough."""
    alone = bool(clients["left_out"].notna().any())
    headings = ["\nRecords", "Memorization\nof the client", *(["Left out\nalone"] if alone else [])]
    headings += ["Of its\nrecords", "Memorised\nrecords", "Entangled\nwith the rest"]
    headings += ["Share of\nchance", "Within\nclasses", *([] if alone else ["\nConfidence"])]
    title = f"Difficulty of {len(clients)} clients, the most memorised first"
    table = terminal_table("\nClient", headings, title=title)
    shown = clients.sort_values("memorization", ascending=False, kind="stable").head(MOST_SHOWN)
    for row in shown.to_dict("records"):
        cells = [
            f"{row['records']:.0f}",
            _with_error(row, "memorization"),
            *([_with_error(row, "left_out")] if alone else []),
            _with_error(row, "record_memorization"),
            _number(row["memorised_share"], "{:.0%}"),
            _number(row["entanglement"], "{:.1f}"),
            _number(row["entanglement"] / row["entanglement_by_chance"], "{:.2f}"),
            _number(row["class_entanglement"], "{:.1f}"),
            *([] if alone else [_number(row["confidence"], "{:.2f}")]),
        ]
        table.add_row(f"{row['client']:.0f}", *cells)
    return table


def printed_proxies(proxies: pd.DataFrame) -> Table:
    """Return a row a proxy: its rank correlations, and how well it finds what was planted."""
    planted = bool(proxies["planted_auc"].notna().any())
    headings = [
        "Spearman with the\nmemorization of records",
        "within\nclients",
        "of clients'\nmeans",
    ]
    headings += ["AUC of planted\nrecords"] if planted else []
    table = terminal_table("\nProxy", headings, title="What proxies know of memorization")
    for row in proxies.to_dict("records"):
        truth = row["measure"] == TRUTH
        name = "(a perfect one)" if truth else PROXY_NAMES[row["measure"]]
        cells = [
            _bounded(row, "spearman", "low", "high"),
            _number(row["within_clients"], "{:.2f}"),
            _number(row["of_clients"], "{:.2f}"),
            *([_bounded(row, *_AUC)] if planted else []),
        ]
        table.add_row(name, *cells, style="bold" if truth else "")
    return table


_AUC = ("planted_auc", "planted_auc_low", "planted_auc_high")


def difficulty_notes(clients: pd.DataFrame, proxies: pd.DataFrame) -> Iterator[str]:
    """Yield sentences on how to read the tables."""
    yield (
        "Memorization: the share of a client's records that models trained with it predict, minus "
        "that of models trained without it, ± standard error; of its records: each record in or "
        "out by itself. 0 is what others teach as well, 1 is known from this client alone."
    )
    if clients["entanglement"].notna().any():
        yield (
            "Entanglement: how far features spread next to how far their means lie apart; high is "
            "entangled. Few records lower it by chance alone: a share of 1 is a client like the "
            "rest. Within classes: whatever shares of the classes it holds."
        )
    else:
        yield "The model's last layer is not a linear one, so entanglement was left out."
    yield (
        "A perfect proxy would reach the first row, for memorization is an estimate itself. What "
        "a proxy says of one record stays at the client; only this study looks at it."
    )
    if clients["curvature"].isna().all():
        yield "The records are no numbers that could be moved a little: no loss curvature."
    if len(clients) > MOST_SHOWN:
        yield f"{len(clients) - MOST_SHOWN} less memorised clients are in {DIFFICULTY_FILE} only."


def _with_error(row: Mapping[Hashable, Any], name: str) -> str:
    value, error = row[name], row[f"{name}_se"]
    if math.isnan(value):
        return ""
    return f"{value:.2f}" if math.isnan(error) else f"{value:.2f} ±{error:.2f}"


def _bounded(row: Mapping[Hashable, Any], name: str, low: str, high: str) -> str:
    if math.isnan(row[name]):
        return ""
    if math.isnan(row[low]):
        return f"{row[name]:.2f}"
    return f"{row[name]:.2f} [{row[low]:.2f}, {row[high]:.2f}]"


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else form.format(value)
