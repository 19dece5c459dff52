"""Peak memory of a process and everything that it started, from Linux's own accounts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
INTERVAL = 0.05
"""Seconds between two looks."""


@dataclass
class Peak:
    """The largest sums seen, in bytes."""

    pss: int = 0
    """Pages shared by several processes count in parts: how much memory is taken, if all that
    share them belong to the tree, else less."""
    rss: int = 0
    """Shared pages count once in each process: at least as much as is taken."""

    def look(self, root: int) -> None:
        """Add up the process ``root`` and its descendants as they are now."""
        processes = [_sizes(process) for process in tree(root)]
        self.pss = max(self.pss, sum(size.get("Pss", 0) for size in processes))
        self.rss = max(self.rss, sum(size.get("Rss", 0) for size in processes))


@contextmanager
def watched(root: int) -> Iterator[Peak]:
    """Look at a tree of processes every 50 ms while the block runs.

    Raises RuntimeError where there is no ``/proc/PID/smaps_rollup``: it needs Linux.
    """
    if not (PROC / "self" / "smaps_rollup").exists():
        raise RuntimeError("Memory is read from /proc/PID/smaps_rollup, which only Linux has.")
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            peak.look(root)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        peak.look(root)
        ended.set()
        watcher.join()


def tree(root: int) -> set[int]:
    """Return ``root`` and all processes that descend from it."""
    parents = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended between two looks
            after_name = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(after_name[1])
    processes, generation = set[int](), {root}
    while generation:
        processes |= generation
        generation = {
            child for child, parent in parents.items() if parent in generation
        } - processes
    return processes


def _sizes(process: int) -> dict[str, int]:
    """Return the process's sums by name, in bytes; none if it has ended."""
    with suppress(OSError):
        lines = (PROC / str(process) / "smaps_rollup").read_text().splitlines()
        fields = (line.split() for line in lines if line.endswith(" kB"))
        return {name.rstrip(":"): 1024 * int(kilobytes) for name, kilobytes, _ in fields}
    return {}
