"""Samples trained a second: our engine, a plain loop, Flower's Ray, rivals and the ceiling."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import gpu, report
from benchmarks.contenders import CONTENDERS, WANTED, ratios, samples_per_second
from benchmarks.processes import Lap, interleaved
from benchmarks.workloads import WORKLOADS, Workload

COLUMNS = ("workload", "contender", "repetition", "samples_per_second")

Speeds = dict[str, dict[str, list[float]]]
"""Of workload and contender: samples a second in every repetition."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line names, print tables and write files."""
    parser = report.command_line(__doc__ or "", repetitions=5)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=gpu.HELP)
    options = parser.parse_args(arguments)
    if options.device == "cuda":
        speeds = gpu.main(options.repetitions)
    else:
        speeds = {}
        for name in options.workloads:
            laps = measured(WORKLOADS[name], options.contenders, options.repetitions)
            speeds[name] = in_samples(WORKLOADS[name], laps)
        print(report.machine(), medians(speeds), goals(speeds), sep="\n\n")
    if speeds and options.out:
        report.write_csv(options.out, COLUMNS, rows(speeds))
    if speeds and options.figure:
        draw(speeds, options.figure)


def measured(
    workload: Workload, contenders: Iterable[str], repetitions: int
) -> dict[str, list[Lap]]:
    """Start a process for each contender and let them take turns."""
    with ExitStack() as stack:
        players = {}
        for name in contenders:
            try:
                players[name] = stack.enter_context(CONTENDERS[name].start(workload))
            except LookupError as error:
                print(error.args[0])
        return interleaved(players, repetitions)


def in_samples(workload: Workload, laps: Mapping[str, Sequence[Lap]]) -> dict[str, list[float]]:
    """Turn laps into samples a second."""
    return {
        name: [samples_per_second(name, workload, lap) for lap in kept]
        for name, kept in laps.items()
    }


def rows(speeds: Speeds) -> Iterator[tuple[str, str, int, float]]:
    """Yield the rows of the file."""
    for workload, contenders in speeds.items():
        for contender, values in contenders.items():
            for repetition, value in enumerate(values, start=1):
                yield workload, contender, repetition, value


def medians(speeds: Speeds) -> str:
    """Return the table of median samples a second."""
    contenders = list(dict.fromkeys(name for rivals in speeds.values() for name in rivals))
    return report.table(
        ["samples/s", *contenders],
        (
            [workload, *(report.number(median(of_contender[name])) for name in contenders)]
            for workload, of_contender in speeds.items()
        ),
    )


def goals(speeds: Speeds) -> str:
    """Return the table of ratios: our median over each rival's."""
    lines = []
    for workload, of_contender in speeds.items():
        for rival, ratio in ratios(of_contender).items():
            wanted = WANTED.get((workload, rival))
            cells = ("", report.number(ratio), "")
            lines.append([workload, rival, *(report.goal(wanted, ratio) if wanted else cells)])
    return report.table(["workload", "auto against", "wanted", "reached", "met"], lines)


def draw(speeds: Speeds, file: Path) -> None:
    """Draw every repetition and the medians."""
    from benchmarks import figures  # not at the top: the processes that train would import it

    figures.save(figures.dots(speeds, "samples a second"), file)


if __name__ == "__main__":
    main()
