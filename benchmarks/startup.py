"""Seconds from the end of the imports to the end of the first trained round."""

import random
from collections.abc import Sequence
from statistics import median

from benchmarks import report
from benchmarks.contenders import CONTENDERS, OURS, RAY
from benchmarks.workloads import WORKLOADS, Workload

COLUMNS = ("contender", "repetition", "seconds")
WANTED_RATIO, WANTED_SECONDS = 8.0, 2.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in fresh processes, print a table and write files."""
    parser = report.command_line(__doc__ or "", repetitions=5)
    parser.add_argument("--workload", choices=WORKLOADS, default="LeNet-5 60 x 20")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=[OURS, RAY])
    options = parser.parse_args(arguments)
    seconds = measured(WORKLOADS[options.workload], options.contenders, options.repetitions)
    print(report.machine(), summary(seconds), goals(seconds), sep="\n\n")
    if options.out:
        rows = [(name, n, v) for name, held in seconds.items() for n, v in enumerate(held, start=1)]
        report.write_csv(options.out, COLUMNS, rows)
    if options.figure:
        from benchmarks import figures

        figures.save(figures.bars(seconds, "seconds to the end of round 1"), options.figure)


def measured(
    workload: Workload, contenders: Sequence[str], repetitions: int
) -> dict[str, list[float]]:
    """Start one process after another, in an order shuffled by a fixed seed.

    One repetition warms up the disk's cache and is dropped.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    order, rng = list(contenders), random.Random(0)
    for _ in range(repetitions + 1):
        rng.shuffle(order)
        for name in order:
            with CONTENDERS[name].start(workload) as player:
                seconds[name].append(player.lap(1).since_imports)
    return {name: kept for name, (_, *kept) in seconds.items()}


def summary(seconds: dict[str, list[float]]) -> str:
    """Return the table of medians and extremes."""
    return report.table(
        ["contender", "seconds", "least", "most"],
        (
            [name, *(report.number(of(held)) for of in (median, min, max))]
            for name, held in seconds.items()
        ),
    )


def goals(seconds: dict[str, list[float]]) -> str:
    """Return the table of what is wanted, as far as it was measured."""
    lines = []
    if OURS in seconds:
        ours = median(seconds[OURS])
        lines.append(["seconds", *report.goal(WANTED_SECONDS, ours, at_most=True)])
        if RAY in seconds:
            ratio = median(seconds[RAY]) / ours
            lines.append([f"times sooner than {RAY}", *report.goal(WANTED_RATIO, ratio)])
    return report.table(["first trained round", "wanted", "reached", "met"], lines)


if __name__ == "__main__":
    main()
