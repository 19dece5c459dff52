"""Seconds of CPU, and memory, until a command has printed its help, refused a word or listed.

`python -m benchmarks.command_starts` starts each command line in fresh processes, in an order
shuffled by a fixed seed; `--python` names the interpreter of another version to measure beside.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from statistics import median

from benchmarks import report

LINES = (
    "--help",
    *(
        f"{command} --help"
        for command in (
            *("withdraw", "compare", "estimate", "doctor", "plot", "report", "attack", "score"),
            *("cost", "verify", "cache", "explain", "difficulty"),
        )
    ),
    "wthdraw",
    "withdraw lr=0.1",
    "withdraw strategy=federazer",
    "withdraw partition.alpha=0.3",
    "withdraw training.rounds=0",
    "compare seeds=3",
    "compare --cfg job",
    "cache ls .",
    "explain training.work.optimizer.lr",
    "plot nowhere",
    "attack nowhere",
)
"""Command lines that train nothing."""

PROGRAM = """
import contextlib, re, sys, time
with contextlib.suppress(BaseException):
    from fedunlearn.__main__ import main
    main()
memory = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
sys.stderr.write(f"\\n{time.process_time()} {memory}\\n")
"""
"""Runs a command line, then tells the seconds of CPU and the most KiB that the process held."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table of medians."""
    parser = argparse.ArgumentParser(prog="benchmarks.command_starts", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--python", nargs="*", default=[], help="further interpreters")
    options = parser.parse_args(arguments)
    interpreters = [sys.executable, *options.python]
    cases = [(python, line) for python in interpreters for line in LINES]
    spent: dict[tuple[str, str], list[tuple[float, float]]] = {case: [] for case in cases}
    rng = random.Random(0)
    for repetition in range(options.repetitions + 1):
        rng.shuffle(cases)
        for case in cases:
            used = measured(*case)
            if repetition:  # the first warms up the disk's cache
                spent[case].append(used)
    headings = ["command", *("CPU seconds", "MB") * len(interpreters)]
    print(report.machine())
    print(report.table(headings, ([line, *_cells(spent, interpreters, line)] for line in LINES)))


def measured(python: str, line: str) -> tuple[float, float]:
    """Return the seconds of CPU and the megabytes that one command line takes."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [python, "-c", PROGRAM, *line.split()], cwd=folder, capture_output=True, text=True
        )
    seconds, kibibytes = ran.stderr.split()[-2:]
    return float(seconds), int(kibibytes) * 1024 / 1e6


def _cells(
    spent: dict[tuple[str, str], list[tuple[float, float]]], interpreters: list[str], line: str
) -> list[str]:
    found = [zip(*spent[python, line], strict=True) for python in interpreters]
    return [report.number(median(values)) for pair in found for values in pair]


if __name__ == "__main__":
    main()
