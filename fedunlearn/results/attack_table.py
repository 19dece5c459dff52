"""What attacks found as a table for people, and the sentences that tell how to read it."""

import math
from collections.abc import Iterator

import pandas as pd
from rich.table import Table

from fedunlearn.results.branches import RETRAIN, RETRAIN_AGAIN, SHARED_TRAINING, told_name
from fedunlearn.results.terminal import marked, terminal_table

ATTACKS_FILE = "attacks.csv"
"""Where the numbers lie in a run's folder."""

ATTACK_COLUMNS = {
    "seed": "int64",
    "strategy": "str",
    "request": "int64",
    "attack": "str",
    "level": "str",
    "statistic": "str",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "n_members": "int64",
    "n_others": "int64",
}
"""Its columns, and their types."""

SHOWN_ATTACKS = {
    ("loss", "record", "auc"): "Loss\nAUC",
    ("lira", "record", "auc"): "LiRA\nAUC",
    ("rmia", "record", "auc"): "RMIA\nAUC",
    ("lira", "record", "tpr_at_0.01"): "LiRA TPR\nat 1 % FPR",
    ("lira_retrained", "record", "auc"): "Against retrained,\nLiRA AUC",
    ("u_lira", "record", "auc"): "Against retrained,\nU-LiRA AUC",
    ("lira_retrained", "client", "auc"): "Client,\nLiRA AUC",
}
"""The numbers that the table shows where there are any, and their headings."""


def printed_attacks(rows: pd.DataFrame, request: str) -> Table:
    """Return a row a strategy: what each attack found in its models, the retrained ones first.

    One seed's numbers stand with their 95 % intervals, several seeds' as mean and sample standard
    deviation, and so do several further references, `RETRAIN_AGAIN` together. 100 columns are
    enough.
    """
    rows = rows.assign(strategy=rows["strategy"].map(told_name))
    seeds = rows["seed"].nunique()
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    cases = rows.set_index(["attack", "level", "statistic"]).sort_index()
    shown = {key: heading for key, heading in SHOWN_ATTACKS.items() if key in cases.index}
    title = f"Membership attacks, request {request}; {spread}"
    table = terminal_table("\nStrategy", shown.values(), title=title)
    for name in sorted(dict.fromkeys(rows["strategy"]), key=_rank):
        label, style = ("(before)", "") if name == SHARED_TRAINING else marked(name)
        cells = [_cell(cases.loc[[key]], name) for key in shown]
        table.add_row(label, *cells, style=style)
    return table


def attack_notes(rows: pd.DataFrame) -> list[str]:
    """Return sentences on how to read the table, and on what the records are too few for."""
    return [*_reading(rows), *_warnings(rows)]


def _rank(name: str) -> int:
    """Put retrained models first, then that before unlearning, then strategies as they come."""
    first = [RETRAIN, RETRAIN_AGAIN, SHARED_TRAINING]
    return first.index(name) if name in first else len(first)


def _cell(rows: pd.DataFrame, name: str) -> str:
    numbers = rows[rows["strategy"] == name]
    if numbers.empty or numbers["value"].isna().all():
        return ""
    if len(numbers) > 1:
        return f"{numbers['value'].mean():.2f} ±{numbers['value'].std():.2f}"
    value, low, high = numbers[["value", "low", "high"]].iloc[0]
    return f"{value:.2f}\n[{low:.2f}, {high:.2f}]"


def _reading(rows: pd.DataFrame) -> Iterator[str]:
    yield (
        "► The goal is the retrain row: that model never saw the leaver, so that it shows what "
        "chance looks like here, and so does retrain again. AUC 0.5 is chance."
    )
    yield (
        "Loss, LiRA, RMIA: the leaver's training records against its held-out ones, in one model. "
        "Against retrained: the training records under this model against the same ones under "
        "models retrained without the leaver; Client: their mean."
    )
    if not (rows["attack"] == "u_lira").any():
        yield (
            "U-LiRA needs three or more seeds that share their data and leavers (split=0), so it "
            "was left out."
        )
        return
    areas = rows[(rows["attack"] == "lira") & (rows["statistic"] == "auc")]
    reach = (areas["high"] - areas["low"]).mean() / 2
    yield (
        "These seeds share their data, so that which records were held out is one draw for all of "
        f"them: in every row alike LiRA's AUC may be off by {reach:.2f}, whatever its spread over "
        "seeds."
    )


def _warnings(rows: pd.DataFrame) -> Iterator[str]:
    counts = rows.loc[(rows["attack"] == "lira") & (rows["statistic"] == "auc"), "n_others"]
    yield from filter(None, (unresolved(int(counts.min()), rate) for rate in FALSE_POSITIVE_RATES))


FALSE_POSITIVE_RATES = (0.01, 0.001)
"""Rates of false positives at which the true ones are counted."""


FIRM = 10
"""So many false positives let a threshold rest on more than a few records."""


def unresolved(others: int, fpr: float) -> str:
    """Return a sentence where ``others`` non-members cannot show this rate; else nothing."""
    allowed = math.floor(fpr * others + 1e-9)  # 0.01 * 2900 is 28.999…
    if allowed >= FIRM:
        return ""
    if allowed == 0:
        return (
            f"TPR at {fpr:.1%} FPR cannot be resolved with {others} non-members: it is that "
            f"above the highest of them, and chance reaches {1 / (others + 1):.1%}. "
            f"{math.ceil(FIRM / fpr):,} would do."
        )
    return (
        f"TPR at {fpr:.1%} FPR rests on {allowed} of {others} non-members; chance reaches "
        f"{(allowed + 1) / (others + 1):.1%}. {math.ceil(FIRM / fpr):,} would be firm."
    )
