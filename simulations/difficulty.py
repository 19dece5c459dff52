"""`fedunlearn difficulty`: how far clients are memorised, and how entangled they are.

Of a finished run, or of a configuration as `fedunlearn compare` takes it. Writes difficulty.csv,
difficulty_proxies.csv, difficulty_records.csv, entanglement.csv and figures/difficulty.svg, .png.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedunlearn import attacks, experiment, files, results
from fedunlearn.checks import Refused

from . import configured
from .guard import check_command_line, require_one_configuration, sentences

EXAMPLES = """\
examples:
  fedunlearn difficulty outputs/demo
  fedunlearn difficulty partition=dirichlet partition.clients=20 model=mlp --left-out 8
"""


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="fedunlearn difficulty",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = "runs or multiruns; or a configuration: KEY=VALUE …"
    parser.add_argument("words", nargs="+", metavar="FOLDER", help=words)
    parser.add_argument(
        "--models", type=int, default=64, metavar="N", help="models of either bank (64)"
    )
    parser.add_argument(
        "--share",
        type=float,
        default=0.7,
        help="share of the clients, or of the records, that each trains on (0.7)",
    )
    parser.add_argument(
        "--left-out",
        type=int,
        default=0,
        metavar="N",
        help="train N models with everybody and N without each client as well (0)",
    )
    return parser.parse_args()


def main() -> None:
    """Write the difficulty of each run, or of one configuration; refusals end it with code 2."""
    options = parsed()
    console = results.plain_console()
    with sentences():
        for folder, difficulty in asked(options):
            show(console, folder, found(console, difficulty))


def asked(options: argparse.Namespace) -> Iterator[tuple[Path, attacks.Difficulty]]:
    """Yield where to write, and what to estimate; all is checked when it is yielded."""
    numbers = (options.models, options.share, options.left_out)
    overrides = [
        word for word in options.words if re.search("=|^~", word) and not Path(word).exists()
    ]
    if overrides and len(overrides) < len(options.words):
        strange = next(word for word in options.words if word not in overrides)
        raise Refused(
            f"fedunlearn difficulty takes folders of runs or one configuration, not {strange} and "
            f"{overrides[0]}."
        )
    folders = [] if overrides else map(Path, options.words)
    runs = list(chain.from_iterable(map(results.find_runs, folders)))
    cfgs = composed(overrides) if overrides else []
    import torch  # whose seconds no wrong folder waits for

    torch.set_num_threads(1)  # as in a run: threads each train clients of their own
    for cfg in cfgs:
        moment = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        made = configured.experiment(configured.settled(cfg, [cfg.seed]), {})
        yield Path("outputs/difficulty") / moment, attacks.Difficulty(made, cfg.seed, *numbers)
    for folder in runs:
        run = results.load(folder)
        seed = int(run.summary["seed"].min())
        difficulty = attacks.Difficulty(configured.rebuilt(run), seed, *numbers)
        require_same_data(run, difficulty, seed)
        yield folder, difficulty


def composed(overrides: list[str]) -> list[DictConfig]:
    """Compose the one configuration that ``overrides`` describe."""
    before, sys.argv = sys.argv, ["fedunlearn difficulty", *overrides]
    cfgs: list[DictConfig] = []
    try:
        require_one_configuration("difficulty")
        check_command_line("difficulty", cfgs.append)
    finally:
        sys.argv = before
    return cfgs


def require_same_data(run: results.Run, difficulty: attacks.Difficulty, seed: int) -> None:
    """Raise `Refused` where the records of a run are no longer what they were."""
    splits = run.manifest.get("split_sha256")
    wanted = splits.get(str(seed)) if isinstance(splits, dict) else None
    if experiment.split_hash(difficulty.federation) != wanted:
        raise Refused(
            f"The records of seed {seed} are not those of the run in {run.folder}: their hash "
            "differs from its manifest's. Was the data set changed?"
        )


def found(console: Console, difficulty: attacks.Difficulty) -> attacks.DifficultyTables:
    """Train the models, with a bar on a terminal."""
    bar = Progress(
        TextColumn("models"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    console.print(f"Training {difficulty.to_train} models …")
    with bar:
        task = bar.add_task("", total=difficulty.to_train)
        return difficulty.found(lambda trained: bar.advance(task, trained))


def show(console: Console, folder: Path, tables: attacks.DifficultyTables) -> None:
    """Print the tables, and write them and the figure into ``folder``."""
    clients, proxies = tables.clients, tables.proxies
    console.print(results.printed_difficulty(clients), "", results.printed_proxies(proxies), "")
    console.print(*results.difficulty_notes(clients, proxies), sep="\n")
    named = {
        results.DIFFICULTY_FILE: clients,
        results.PROXY_FILE: proxies,
        results.PAIRS_FILE: tables.pairs,
        results.RECORDS_FILE: tables.records,
    }
    written = [
        files.write(folder / name, table.to_csv(index=False, lineterminator="\n").encode())
        for name, table in named.items()
    ]
    from fedunlearn.results import plots  # a second of matplotlib, after the numbers are there

    written += plots.written(folder, [("difficulty", plots.difficulty(clients, proxies))])
    results.note_derived(folder, written)
    console.print("", *(f"Written: {path}" for path in written), sep="\n", soft_wrap=True)


if __name__ == "__main__":
    main()
