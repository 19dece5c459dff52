"""`fedunlearn attack FOLDER …`: membership attacks on a finished run's models, by shadow models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedunlearn import attacks, files, results
from fedunlearn.results import SHARED_TRAINING

from . import configured
from .guard import sentences


def attacked(run: results.Run, count: int, names: Sequence[str] | None, console: Console) -> Path:
    """Attack one run, write its attacks.csv, print the table, and return the file's path."""
    strategies = names or [SHARED_TRAINING, *dict.fromkeys(run.summary["strategy"])]
    attack = attacks.Attack(configured.rebuilt(run), run, count, strategies)
    bar = Progress(
        TextColumn("shadow models"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    console.print(f"Training {attack.to_train} shadow models …")
    with bar:
        task = bar.add_task("", total=attack.to_train)
        table = attack.table(lambda trained: bar.advance(task, trained))
    path = files.write(run.folder / results.ATTACKS_FILE, table.to_csv(index=False).encode())
    results.note_derived(run.folder, [path])
    for request, rows in table.groupby("request"):
        console.print(results.printed_attacks(rows, str(request)))
    console.print(*results.attack_notes(table), sep="\n")
    return path


def main() -> None:
    """Attack every run in the folders named; what cannot be attacked ends it with code 2."""
    parser = argparse.ArgumentParser(prog="fedunlearn attack", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="a run, or a multirun of several")
    parser.add_argument(
        "--shadows",
        type=int,
        default=16,
        metavar="N",
        help="train so many models with the leavers and so many without them, for each seed and "
        "request (default: 16)",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="STRATEGY",
        help=f"attack the models of these only; {SHARED_TRAINING} is the model before unlearning",
    )
    options = parser.parse_args()
    console = results.plain_console()
    with sentences():
        run_folders = list(chain.from_iterable(map(results.find_runs, options.folder)))
        import torch  # whose seconds no wrong folder waits for

        torch.set_num_threads(1)  # as in a run: threads each train clients of their own
        for run_folder in run_folders:
            path = attacked(results.load(run_folder), options.shadows, options.models, console)
            console.print(f"\nWritten: {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
