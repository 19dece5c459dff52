"""`fedunlearn score FOLDER …`: the unlearning competition's score of a finished comparison.

The seeds of the comparison must share one division of the data (split=0). Writes score.csv.
"""

from __future__ import annotations

import argparse
import math
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from fedunlearn import attacks, evaluators, files, results

from . import configured
from .guard import sentences

if TYPE_CHECKING:
    import pandas as pd

FILE = "score.csv"

LEGEND = (
    "F is the forgetting quality, the mean of H over the leaver's records: higher is better, and "
    "what retrained models reach against each other is the most that can be expected. Relative F "
    "is its share of that, with a 95 % interval over seeds: 1 is retraining. Fitted F takes "
    "confidences for normally distributed. Work is next to retraining's. Score = F x retained x "
    "test, but 0 where the work is more than --gate allows. ToW is 1 for equality with retraining."
)
"""How to read the table."""


def listed(rows: pd.DataFrame) -> Table:
    """Return a row a strategy, for one request; 100 columns are enough."""
    first = rows.iloc[0]
    title = (
        f"Competition score, request {first['request']}: {first['models']} models on a side, "
        f"{first['records']} records of the leaver"
    )
    headings = ["Median\nepsilon", "\nF", "\nRelative F", "\nFitted F", "Relative\nfitted F"]
    headings += ["Retained\nx test", "\nWork", "\nScore", "\nToW", "\nToW-MIA"]
    table = results.terminal_table("\nStrategy", headings, title=title)
    for _, row in rows.iterrows():
        cells = [
            f"{row['epsilon_median']:.1f}",
            f"{row['quality']:.3f}",
            _bounded(row, "relative"),
            f"{row['fitted_quality']:.3f}",
            _bounded(row, "fitted_relative"),
            f"{row['retained_ratio'] * row['test_ratio']:.3f}",
            f"{row['cost_share']:.0%}",
            "" if row["strategy"] == results.RETRAIN_AGAIN else f"{row['score']:.3f}",
            *("" if math.isnan(row[name]) else f"{row[name]:.2f}" for name in ("tow", "tow_mia")),
        ]
        style = "bold" if row["strategy"] == results.RETRAIN_AGAIN else ""
        table.add_row(row["strategy"], *cells, style=style)
    return table


def _bounded(row: pd.Series, name: str) -> str:
    """Write a value over its interval, where it has one."""
    if math.isnan(row[f"{name}_low"]):
        return f"{row[name]:.2f}"
    return f"{row[name]:.2f}\n{row[f'{name}_low']:.2f}…{row[f'{name}_high']:.2f}"


def main() -> None:
    """Score every run in the folders named; what cannot be scored ends it with code 2."""
    parser = argparse.ArgumentParser(prog="fedunlearn score", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="a run, or a multirun of several")
    for name, kind, default, words in (
        (
            "--gate",
            float,
            None,
            "share of retraining's work that a strategy may take; left out: the competition's",
        ),
        ("--records", int, 256, "ask about so many records of the leavers at most (256)"),
        ("--replicates", int, 100, "resamples for the intervals (100)"),
    ):
        parser.add_argument(name, type=kind, default=default, help=words)
    options = parser.parse_args()
    console = results.plain_console()
    with sentences():
        run_folders = list(chain.from_iterable(map(results.find_runs, options.folder)))
        import torch  # whose seconds no wrong folder waits for

        torch.set_num_threads(1)  # as in a run: small batches gain nothing from threads
        gate = evaluators.LARGEST_COST_SHARE if options.gate is None else options.gate
        for run_folder in run_folders:
            run = results.load(run_folder)
            asked = (gate, options.records, options.replicates)
            scoring = attacks.Scoring(configured.rebuilt(run), run, *asked)
            table = scoring.table()
            for _, rows in table.groupby("request"):
                console.print(listed(rows), "")
            console.print(LEGEND, *attacks.warnings(scoring.models), sep="\n")
            path = files.write(run_folder / FILE, table.to_csv(index=False).encode())
            results.note_derived(run_folder, [path])
            console.print(f"\nWritten: {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
