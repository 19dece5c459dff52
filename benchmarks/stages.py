"""The table of docs/results: every strategy right after unlearning, and after recovery.

    python -m benchmarks.stages outputs/compare/… [--recovery 5]

Reads a finished run; the values are in per cent, mean and standard deviation over seeds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks import report
from fedunlearn.results import amount, is_reference, load
from fedunlearn.results.plots import ends

METRICS = {
    "test_accuracy": "test accuracy",
    "forget_accuracy": "leaver's records",
    "attack_success_rate": "attack",
}


def table(folder: Path, request: int = 1, recovery: int | None = None) -> str:
    """Return the Markdown table of a request; ``recovery`` counts its rounds, None: all."""
    run = load(folder)
    metrics = run.metrics
    if recovery is not None:
        metrics = metrics[(metrics["phase"] != "recover") | (metrics["round"] <= recovery)]
    numbers = ends(metrics, request).set_index(["strategy", "phase", "metric"])
    summary = run.summary[run.summary["request"] == request]
    phases = [phase for phase in ("unlearn", "recover") if phase in numbers.index.levels[1]]
    rows = []
    for name, costs in summary.groupby("strategy", sort=False):
        if is_reference(str(name)) and name != "retrain":
            continue
        cells = [
            _cell(numbers, (str(name), phase, metric)) for phase in phases for metric in METRICS
        ]
        rows.append([str(name), *cells, *_costs(costs)])
    headings = ["strategy", *list(METRICS.values()) * len(phases), "client epochs", "MB stored"]
    return report.table(headings, rows)


def _cell(numbers: pd.DataFrame, place: tuple[str, str, str]) -> str:
    if place not in numbers.index:
        return ""
    mean, spread = numbers.loc[place]
    return f"{mean:.1f} ±{spread:.1f}"


def _costs(rows: pd.DataFrame) -> list[str]:
    return [amount(rows["client_epochs"].mean()), amount(rows["store_bytes"].mean() / 1e6)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of each run named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path)
    parser.add_argument("--request", type=int, default=1)
    parser.add_argument("--recovery", type=int, help="rounds of recovery to look at; default: all")
    options = parser.parse_args(arguments)
    for folder in options.folder:
        print(table(folder, options.request, options.recovery))


if __name__ == "__main__":
    main()
