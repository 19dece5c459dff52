"""What storing updates in fewer bytes does to a strategy's result: a figure and a table.

    python -m benchmarks.encodings --experiments digits_backdoor mnist_backdoor --out FILE.csv

A federation is trained once a seed; then each strategy sees its history through each encoding, as
it would read it from disk. Needs no idle machine: nothing is timed.
"""

import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pandas as pd
from hydra import compose, initialize_config_dir
from rich.console import Console

from benchmarks import report
from benchmarks.encodings_figure import draw
from fedunlearn.data import build_federation
from fedunlearn.experiment import Experiment, run
from fedunlearn.history import History, Needs, RecordedRound, Round, encodings
from fedunlearn.models import Vector
from fedunlearn.simulations import configured, guard, plain_values
from fedunlearn.unlearning import Clients, Guarantee, Request, UnlearningStrategy
from strategies.federaser import FedEraser
from strategies.subtraction import Subtraction

NAMES = ("float32", "bfloat16", "int8", "topk-0.1", "topk-0.01")
INTERVALS = (1, 2, 4)
COLUMNS = (
    *("experiment", "seed", "strategy", "interval", "encoding", "store_bytes"),
    *("test_accuracy_gap", "forget_accuracy_gap", "attack_success_rate_gap"),
)


@dataclass(frozen=True)
class Through:
    """A strategy that reads its history in an encoding."""

    guarantee: ClassVar[Guarantee] = "none"

    strategy: UnlearningStrategy
    encoding: str

    @property
    def needs(self) -> Needs:
        """What the strategy needs."""
        return self.strategy.needs

    def length(self, request: Request) -> int:
        """As many as the strategy."""
        return self.strategy.length(request)

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield what the strategy yields."""
        rounds = tuple(self._read(kept) for kept in history.rounds)
        yield from self.strategy.unlearn(request, replace(history, rounds=rounds), clients)

    def _read(self, kept: RecordedRound) -> RecordedRound:
        assert isinstance(kept, Round)
        encoding, sent = encodings.of(self.encoding), kept.updates
        deltas = encoding.decode(encoding.encode(sent.deltas), sent.deltas.shape[1])
        return replace(kept, updates=replace(sent, deltas=deltas))


def variants() -> dict[str, Through]:
    """Return FedEraser at each interval and subtraction, in each encoding, by name."""
    encodings = {}
    for encoding in NAMES:
        for interval in INTERVALS:
            strategy = FedEraser(interval=interval)
            encodings[f"federaser/{interval}/{encoding}"] = Through(strategy, encoding)
        encodings[f"subtraction/1/{encoding}"] = Through(Subtraction(), encoding)
    return encodings


def experiment(name: str, overrides: Sequence[str]) -> tuple[Experiment, Sequence[int]]:
    """Return the experiment of conf/experiment with all variants, and its seeds."""
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        cfg = compose("config", [f"experiment={name}", "history=memory", *overrides])
    built = configured.experiment(cfg, {})
    return replace(built, strategies=variants()), plain_values.seeds(cfg.seeds)


def measured(name: str, overrides: Sequence[str]) -> pd.DataFrame:
    """Run an experiment and return a row a seed and variant."""
    comparison, seeds = experiment(name, overrides)
    console = Console(file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        summary = run(comparison, seeds, Path(folder), {}, console)
    rows = summary[summary["strategy"].isin(comparison.strategies)].copy()
    rows[["strategy", "interval", "encoding"]] = rows["strategy"].str.split("/", expand=True)
    size = build_federation(comparison.scenario(seeds[0])).network.layout.size
    updates = (rows["store_bytes"] - 4 * size) // (4 * size)  # the first model is stored as well
    each = {name: encodings.of(name).nbytes(1, size) for name in NAMES}
    rows["store_bytes"] = 4 * size + updates * rows["encoding"].map(each)
    return rows.assign(experiment=name, interval=rows["interval"].astype(int))[[*COLUMNS]]


def table(measured: pd.DataFrame) -> str:
    """Return means and standard deviations over seeds, in points, as a Markdown table."""
    keys = ["experiment", "strategy", "interval", "encoding"]
    grouped = measured.groupby(keys, sort=False)
    rows = []
    for key, held in grouped:
        cells = [
            f"{100 * held[name].mean():+.1f} ± {100 * held[name].std():.1f}"
            for name in COLUMNS[-3:]
        ]
        megabytes = report.number(float(held["store_bytes"].mean()) / 1e6)
        rows.append([*map(str, key), megabytes, *cells])
    headings = [*keys, "MB stored", "test accuracy", "leaver's records", "attack success"]
    return report.table(headings, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the table, write the rows and draw the figure."""
    parser = report.command_line(__doc__ or "", repetitions=1)
    parser.add_argument("--experiments", nargs="+", default=["digits_backdoor", "mnist_backdoor"])
    parser.add_argument("--overrides", nargs="*", default=[], help="of Hydra, for all of them")
    options = parser.parse_args(arguments)
    results = pd.concat(
        [measured(name, options.overrides) for name in options.experiments], ignore_index=True
    )
    print(table(results))
    if options.out:
        report.write_csv(options.out, COLUMNS, results.itertuples(index=False))
    if options.figure:
        draw(results, options.figure)


if __name__ == "__main__":
    main()
