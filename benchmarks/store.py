"""The history on disk: its speed against plain files, what it costs training, and its memory."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import report, store_cases, store_memory
from benchmarks.store_cases import (
    COLD,
    NEEDS,
    OPENED,
    PLAIN,
    RECORDER,
    REPLAY,
    TRAINING,
    WRITING,
    Size,
    Values,
)
from benchmarks.store_memory import (
    LIMIT,
    LONGER,
    MEMORY,
    ONE_BY_ONE,
    RECORDING,
    REPLAYING,
    TIMES,
    named,
)

COLUMNS = ("measure", "contender", "repetition", "value", "unit")
UNITS = store_cases.UNITS | store_memory.UNITS
RATE, SLOWER, GROWTH = 0.6, 10, 1
"""Wanted: share of the plain rate, percent of a training round, and percent of the bytes that
more rounds add which peak memory may follow: what an allocator happens to keep."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables and write files."""
    parser = report.command_line(__doc__ or "", repetitions=5)
    place = "on the disk that is measured; here, unless said otherwise"
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help=place)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="fedunlearn-store-", dir=options.folder) as folder:
        size = Size(Path(folder), options.clients, options.rounds)
        values = measured(size, options.repetitions)
    print(report.machine(), summary(values), goals(values, size), sep="\n\n")
    if options.out:
        rows = [
            (measure, contender, n, value, UNITS[measure])
            for (measure, contender), held in values.items()
            for n, value in enumerate(held, start=1)
        ]
        report.write_csv(options.out, COLUMNS, rows)
    if options.figure:
        from benchmarks import store_figure

        store_figure.draw(values, size, options.figure)


def measured(size: Size, repetitions: int) -> Values:
    """Let all that is timed take turns; then measure memory, which nobody else can disturb."""
    with store_cases.laps(size) as cases:
        values = store_cases.interleaved(cases, repetitions)
    for measure in (store_memory.peaks, store_memory.limited):
        for _ in range(repetitions):
            for case, value in measure(size).items():
                values.setdefault(case, []).append(value)
    return values


def summary(values: Values) -> str:
    """Return the table of medians, with the least and the most."""
    return report.table(
        ["what", "contender", "unit", "median", "least", "most"],
        (
            [measure, contender, UNITS[measure]]
            + [report.number(pick(held)) for pick in (median, min, max)]
            for (measure, contender), held in values.items()
        ),
    )


def goals(values: Values, size: Size) -> str:
    """Return the table of what is wanted, as far as it was measured."""
    medians = {case: median(held) for case, held in values.items()}
    lines = []
    for measure, contender in ((WRITING, RECORDER), (COLD, REPLAY), (COLD, OPENED)):
        if (measure, contender) in medians:
            share = medians[measure, contender] / medians[measure, PLAIN]
            what = f"{measure}: {contender}, share of {PLAIN}"
            lines.append([what, *report.goal(RATE, share)])
    bare, kept = (medians[TRAINING, name] for name in NEEDS)
    slower = report.goal(SLOWER, 100 * (kept / bare - 1), at_most=True)
    lines.append(["share of a round that recording adds, %", *slower])
    more = (LONGER - 1) * size.nbytes / 1e6
    for work in (RECORDING, REPLAYING):
        few, many = (
            medians[MEMORY, named(work, count)] for count in store_memory.lengths(size.rounds)
        )
        what = f"{work} {LONGER} times the rounds: peak memory added, % of the bytes added"
        lines.append([what, *report.goal(GROWTH, 100 * (many - few) / more, at_most=True)])
    within = f"history that is replayed in {store_memory.BUDGET / 1e6:,.0f} MB, over that"
    lines.append([within, *report.goal(TIMES, medians[LIMIT, ONE_BY_ONE])])
    return report.table(["what", "wanted", "reached", "met"], lines)


if __name__ == "__main__":
    main()
