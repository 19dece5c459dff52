"""What a round costs besides training: messages and aggregation, and keeping updates."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import report
from benchmarks.contenders import OURS, RAY
from benchmarks.processes import Player, interleaved
from benchmarks.workloads import lenet5
from fedunlearn.history import Needs

COLUMNS = ("measure", "contender", "clients", "sampled", "repetition", "seconds_per_round")
NULL = "null training"
SIZES = (10, 100, 1000, 10_000)
SAMPLED, OF = (10, 100, 1000), 1000
RAY_SIZES = (10, 100, 1000)
RECORDING = {
    "training": Needs(),
    "training, recorded": Needs(updates=True, models=True),
}

Case = tuple[str, str, int, int]
"""Measure, contender, clients and how many of them are asked."""
Seconds = dict[Case, list[float]]
"""Seconds a round, in every repetition."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables and write files."""
    parser = report.command_line(__doc__ or "", repetitions=7)
    parser.add_argument("--flower", action="store_true", help=f"measure {RAY}, too: minutes")
    parser.add_argument("--mode", default=OURS, help="engine.mode of the training that is recorded")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="numbers of clients")
    options = parser.parse_args(arguments)
    seconds: Seconds = {}
    for clients in options.sizes:
        seconds |= measured(null_cases(clients, options.flower), options.repetitions)
    seconds |= measured(recording_cases(options.mode), options.repetitions)
    print(report.machine(), summary(seconds), goals(seconds), sep="\n\n")
    if options.out:
        rows = [(*case, n, v) for case, held in seconds.items() for n, v in enumerate(held, 1)]
        report.write_csv(options.out, COLUMNS, rows)
    if options.figure:
        draw(seconds, options.figure)


def null_cases(clients: int, flower: bool) -> dict[Case, Player]:
    """Start processes that run rounds of ``clients`` clients who do nothing."""
    sampled = SAMPLED if clients == OF else (clients,)
    players = {
        (NULL, "fedunlearn", clients, asked): Player(
            "benchmarks.null:contend", clients=clients, sampled=asked
        )
        for asked in sampled
    }
    if flower and clients in RAY_SIZES:
        players[NULL, RAY, clients, clients] = Player("benchmarks.flower_ray:idle", clients=clients)
    return players


def recording_cases(mode: str) -> dict[Case, Player]:
    """Start processes that train LeNet-5, and keep each round's updates and model or do not."""
    workload = lenet5(60, 20)
    return {
        (measure, "fedunlearn", workload.clients, workload.clients): Player(
            "benchmarks.ours:recorded", workload=workload, mode=mode, needs=needs
        )
        for measure, needs in RECORDING.items()
    }


def measured(players: Mapping[Case, Player], repetitions: int) -> Seconds:
    """Let processes take turns; then end them."""
    with ExitStack() as stack:
        for player in players.values():
            stack.enter_context(player)
        named = {str(case): player for case, player in players.items()}
        laps = interleaved(named, repetitions)
    return {case: [lap.seconds / lap.rounds for lap in laps[str(case)]] for case in players}


def summary(seconds: Seconds) -> str:
    """Return the table of median times a round."""
    return report.table(
        ["a round of", "contender", "clients", "asked", "ms", "µs a client asked"],
        (
            [measure, contender, f"{clients:,}", f"{asked:,}",
             report.number(1e3 * median(held)), report.number(1e6 * median(held) / asked)]
            for (measure, contender, clients, asked), held in seconds.items()
        ),
    )  # fmt: skip


def goals(seconds: Seconds) -> str:
    """Return the table of what is wanted, as far as it was measured."""
    medians = {case: median(held) for case, held in seconds.items()}
    lines = []
    ours, ray = (medians.get((NULL, who, OF, OF)) for who in ("fedunlearn", RAY))
    if ours and ray:
        lines.append([f"null round, {OF:,} of {OF:,}: times {RAY}", *report.goal(100, ray / ours)])
    few = medians.get((NULL, "fedunlearn", OF, SAMPLED[0]))
    if ours and few:
        growth = report.goal(SAMPLED[-1] / SAMPLED[0], ours / few, at_most=True)
        lines.append([f"time a round, {SAMPLED[-1]:,} asked over {SAMPLED[0]}", *growth])
    bare, kept = (medians.get((measure, "fedunlearn", 20, 20)) for measure in RECORDING)
    if bare and kept:
        lines.append(["share of a round that recording adds, %",
                      *report.goal(10, 100 * (kept / bare - 1), at_most=True)])  # fmt: skip
    return report.table(["what", "wanted", "reached", "met"], lines)


def draw(seconds: Seconds, file: Path) -> None:
    """Draw the time of a null round against the clients asked."""
    from benchmarks import figures

    lines: dict[str, dict[int, list[float]]] = {}
    for (measure, contender, clients, asked), held in seconds.items():
        if measure == NULL and clients == asked:
            lines.setdefault(f"{contender}, all clients asked", {})[asked] = held
        if measure == NULL and contender == "fedunlearn" and clients == OF:
            lines.setdefault(f"fedunlearn, some of {OF:,} asked", {})[asked] = held
    figures.save(figures.lines(lines, "clients asked", "seconds a round, nobody trains"), file)


if __name__ == "__main__":
    main()
