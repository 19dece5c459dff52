"""`fedunlearn suspects FOLDER …`: whose labels may be wrong, by what the server may see.

Clients are ranked by their updates: lengths and directions next to the others', and what changes on
the server's own labelled records where one is left out. For that the federation is trained again.
Records are ranked by each client alone, which is simulated here: nothing about a record is sent.
Writes suspects.csv and suspect_records.csv.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from fedunlearn import attacks, files, results

from . import configured
from .guard import sentences

if TYPE_CHECKING:
    import pandas as pd

CLIENTS_FILE, RECORDS_FILE = "suspects.csv", "suspect_records.csv"

LEGEND = (
    "Suspicion: mean share of clients that are less suspicious by direction, own loss, and loss "
    "without it; 1 is the most. Length: of updates, next to the median of the others. Direction: "
    "cosine with the mean of the others. Own loss: of its local model on the server's labelled "
    "records, above the others' median. Without it: what loss and accuracy of a round gain there "
    "if its update is left out; a negative loss and a positive accuracy are better without it. All "
    "are means over rounds; a server that trained this federation could compute them."
)
"""How to read the table."""

SIMULATED = (
    "Records are ranked by each client by itself, by their loss on the model; the clients are "
    "simulated here, and no message holds anything about one record."
)
"""What is said of the ranks of records."""


def listed(table: pd.DataFrame, seed: int) -> Table:
    """Return a row a client, the most suspicious first; 100 columns are enough."""
    headings = ["\nSuspicion", "\nLength", "\nDirection", "Own\nloss", "Without it:\nloss"]
    headings += ["\naccuracy", "\nRounds", "Wrong labels\nplanted"]
    shown = results.terminal_table("\nClient", headings, title=f"Suspects, seed {seed}")
    for row in table.to_dict("records"):
        numbers = (
            f"{row['suspicion']:.2f}",
            f"{row['length']:.2f}",
            f"{row['cosine']:.2f}",
            f"{row['own_loss']:+.2f}",
            f"{row['loss_without']:+.4f}",
            f"{100 * row['accuracy_gain']:+.2f} %",
        )
        cells = numbers if not math.isnan(row["suspicion"]) else ("",) * len(numbers)
        shown.add_row(str(row["client"]), *cells, str(row["rounds"]), "yes" * row["planted"])
    return shown


def told(found: attacks.Found) -> Iterator[str]:
    """Say how well suspicion finds what was planted, which only a simulation knows."""
    if not found.clients["planted"].any():
        yield "Nothing was planted with anybody, so there is nothing to find."
        return
    yield (
        f"A planted client is more suspicious than another in {100 * found.clients_found:.0f} % of "
        f"all pairs (AUC), and {100 * found.among_the_first:.0f} % of as many of the most "
        "suspicious as there are planted ones are planted."
    )
    if not math.isnan(found.records_found):
        yield (
            f"Within a planted client, a planted record has a higher loss than another in "
            f"{100 * found.records_found:.0f} % of all pairs (AUC)."
        )


def main() -> None:
    """Look at every run in the folders named; what cannot be looked at ends it with code 2."""
    parser = argparse.ArgumentParser(prog="fedunlearn suspects", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="a run, or a multirun of several")
    parser.add_argument("--seed", type=int, help="of the run's seeds; left out: all of them")
    options = parser.parse_args()
    console = results.plain_console()
    with sentences():
        run_folders = list(chain.from_iterable(map(results.find_runs, options.folder)))
        import pandas as pd  # whose seconds no wrong folder waits for
        import torch

        torch.set_num_threads(1)  # as in a run: threads each train clients of their own
        for run_folder in run_folders:
            run = results.load(run_folder)
            suspects = attacks.Suspects(configured.rebuilt(run), run)
            seeds = sorted(set(run.clients["seed"])) if options.seed is None else [options.seed]
            tables: dict[str, list[pd.DataFrame]] = {CLIENTS_FILE: [], RECORDS_FILE: []}
            for seed in map(int, seeds):
                found = suspects.found(seed)
                console.print(listed(found.clients, seed), *told(found), "", sep="\n")
                for name, table in zip(tables, (found.clients, found.records), strict=True):
                    tables[name].append(table.assign(seed=seed))
            console.print(LEGEND, SIMULATED, "", sep="\n")
            for name, parts in tables.items():
                path = _written(run_folder / name, pd.concat(parts))
                console.print(f"Written: {path}", soft_wrap=True)


def _written(path: Path, table: pd.DataFrame) -> Path:
    """Write one table, the seed first."""
    first = ["seed", "rank", "client"]
    ordered = table[[*first, *table.columns.difference(first, sort=False)]]
    files.write(path, ordered.to_csv(index=False, lineterminator="\n").encode())
    results.note_derived(path.parent, [path])
    return path


if __name__ == "__main__":
    main()
