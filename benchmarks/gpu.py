"""The engine on a GPU: one cohort against the loop over clients on the same device."""

from contextlib import ExitStack
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import report
from benchmarks.contenders import CONTENDERS, LOOPS, OURS, samples_per_second
from benchmarks.processes import Lap, Player, interleaved
from benchmarks.workloads import BATCH, CLASSES, Workload, lenet5

HELP = "cuda: LeNet-5 with 10, 100 and 1,000 clients, against the loop on the same GPU"
WORKLOADS = tuple(lenet5(60, clients) for clients in (10, 100, 1000))
WANTED = {100: 10.0}
"""Of the number of clients: the least multiple of the loop's speed."""
SIDE = 4096
MATRIX = "matrix product"


def main(repetitions: int) -> dict[str, dict[str, list[float]]]:
    """Measure and print the table; return samples a second, of nothing where there is no GPU."""
    if not torch.cuda.is_available():
        print("There is no GPU that torch can use here, so nothing was measured.")
        return {}
    speeds, lines = {}, []
    for workload in WORKLOADS:
        laps = measured(workload, repetitions)
        speeds[workload.name] = {
            name: [samples_per_second(name, workload, lap) for lap in laps[name]]
            for name in (OURS, LOOPS[0])
        }
        lines.append(row(workload, laps))
    headings = [
        *("workload", "auto, samples/s", "loop, samples/s", "wanted", "reached", "met"),
        *("TFLOP/s", "of a matrix product's", "GPU memory, MB"),
    ]
    print(report.machine("cuda"), report.table(headings, lines), sep="\n\n")
    return speeds


def measured(workload: Workload, repetitions: int) -> dict[str, list[Lap]]:
    """Let our engine, the loop and a bare matrix product take turns on the GPU."""
    with ExitStack() as stack:
        players = {
            OURS: CONTENDERS[OURS].start(workload, "cuda"),
            LOOPS[0]: CONTENDERS[LOOPS[0]].start(workload, "cuda"),
            MATRIX: Player("benchmarks.gpu:multiply"),
        }
        for player in players.values():
            stack.enter_context(player)
        return interleaved(players, repetitions)


def row(workload: Workload, laps: dict[str, list[Lap]]) -> list[str]:
    """Return a workload's row: speeds, their ratio, and how much of the device was used."""
    ours, loop = (
        median(samples_per_second(name, workload, lap) for lap in laps[name])
        for name in (OURS, LOOPS[0])
    )
    wanted = WANTED.get(workload.clients)
    cells = ("", report.number(ours / loop), "")
    rate = flops(workload) * ours
    limit = median(2 * SIDE**3 * lap.rounds / lap.seconds for lap in laps[MATRIX])
    memory = max(lap.gpu_bytes for lap in laps[OURS])
    return [
        *(workload.name, report.number(ours), report.number(loop)),
        *(report.goal(wanted, ours / loop) if wanted else cells),
        *(report.number(rate / 1e12), f"{rate / limit:.1%}", report.number(memory / 1e6)),
    ]


def flops(workload: Workload) -> float:
    """Return the floating-point operations of forward and backward, of one record."""
    net = workload.model(workload.shape, CLASSES)
    images, labels = torch.rand(BATCH, *workload.shape), torch.zeros(BATCH, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(net(images), labels).backward()
    return counter.get_total_flops() / BATCH


def multiply(turns: Any) -> None:
    """Multiply two square float32 matrices a round, with torch's own settings."""
    left, right = torch.rand(2, SIDE, SIDE, device="cuda")
    for rounds in turns:
        for _ in range(rounds):
            torch.mm(left, right)
