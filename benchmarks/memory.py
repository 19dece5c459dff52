"""Peak memory of all processes: many clients in our engine, ten in Flower's Ray for context."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import report
from benchmarks.contenders import CONTENDERS, OURS, RAY
from benchmarks.footprint import Peak, watched
from benchmarks.processes import Player
from benchmarks.workloads import Workload, mlp

COLUMNS = ("contender", "workload", "repetition", "pss_bytes", "rss_bytes", "data_bytes")
ROUNDS = 20
WANTED = 1.5e9
"""Bytes besides the clients' records."""


@dataclass(frozen=True, slots=True)
class Case:
    """Who trains what, asking which share of the clients in a round."""

    contender: str
    workload: Workload
    cohort: float

    def start(self, mode: str) -> Player:
        """Start a process that plays it."""
        if self.contender == RAY:
            return CONTENDERS[RAY].start(self.workload)
        place = {"workload": self.workload, "mode": mode, "cohort": self.cohort}
        return Player("benchmarks.ours:contend", **place)

    @property
    def name(self) -> str:
        """Who and what, for a table."""
        asked = round(self.cohort * self.workload.clients)
        return f"{self.contender}, {self.workload.clients:,} clients, {asked:,} asked"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and write files."""
    parser = report.command_line(__doc__ or "", repetitions=3)
    parser.add_argument("--flower", action="store_true", help=f"measure {RAY}, too")
    parser.add_argument("--mode", default=OURS, help="engine.mode of our own")
    parser.add_argument("--clients", type=int, default=10_000)
    options = parser.parse_args(arguments)
    cases = [Case("fedunlearn", mlp(20, options.clients), min(1.0, 100 / options.clients))]
    cases += [Case(RAY, mlp(20, 10), 1.0)] if options.flower else []
    peaks = {
        case: [measured(case, options.mode) for _ in range(options.repetitions)] for case in cases
    }
    print(report.machine(), summary(peaks), sep="\n\n")
    if options.out:
        rows = [
            (case.contender, case.workload.name, n, peak.pss, peak.rss, case.workload.data_bytes)
            for case, held in peaks.items()
            for n, peak in enumerate(held, start=1)
        ]
        report.write_csv(options.out, COLUMNS, rows)
    if options.figure:
        draw(peaks, options.figure)


def measured(case: Case, mode: str) -> Peak:
    """Watch a fresh process and its children from its start to the end of the last round."""
    with case.start(mode) as player, watched(player.pid) as peak:
        player.lap(ROUNDS)
    return peak


def summary(peaks: dict[Case, list[Peak]]) -> str:
    """Return the table of median peaks; ours is judged by the larger measure."""
    lines = []
    for case, held in peaks.items():
        data = case.workload.data_bytes
        shares, rss = (median(getattr(peak, name) for peak in held) for name in ("pss", "rss"))
        cells = [case.name, *(report.number(size / 1e6) for size in (data, shares, rss))]
        above = (WANTED / 1e6, (rss - data) / 1e6)
        ours = case.contender != RAY
        lines.append([*cells, *(report.goal(*above, at_most=True) if ours else ("", "", ""))])
    return report.table(
        [f"{ROUNDS} rounds", "data, MB", "peak (PSS), MB", "peak (RSS), MB",
         "RSS without data: wanted", "reached", "met"],
        lines,
    )  # fmt: skip


def draw(peaks: dict[Case, list[Peak]], file: Path) -> None:
    """Draw the peaks as bars."""
    from benchmarks import figures

    sizes = {case.name: [peak.pss / 1e6 for peak in held] for case, held in peaks.items()}
    figures.save(figures.bars(sizes, "peak memory of all processes (PSS), MB"), file)


if __name__ == "__main__":
    main()
