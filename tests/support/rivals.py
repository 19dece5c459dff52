"""Contenders for tests of other Pythons: this one."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads import Workload


@dataclass(frozen=True)
class ThisPython:
    """An environment that is there already."""

    package: str = "this"

    def interpreter(self) -> Path:
        """Return the interpreter that runs the tests."""
        return Path(sys.executable)


def noisy(turns: Iterable[int], workload: Workload) -> None:
    """Print a line a round, as rivals do."""
    for rounds in turns:
        for _ in range(rounds):
            sys.stdout.write(f'{{"seconds": "a round of {workload.name}"}}\n')
            sys.stdout.flush()


def failing(turns: Iterable[int], workload: Workload) -> None:
    """Give up on the second turn."""
    for turn, _ in enumerate(turns):
        if turn:
            raise ValueError("no more")
