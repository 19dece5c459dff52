"""Comparisons in processes of their own that end without warning, and where in them that was.

The clock of costs and certificates stands still in them, so that two runs of one configuration
write the same bytes.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple

EVENTS = {"open", "os.rename", "os.remove", "os.truncate", "os.rmdir", "os.mkdir", "os.link"}
"""What Python tells, before it happens, about a process's dealings with files."""

KILLED = signal.SIGKILL
"""What ends a process; multiprocessing gives its exit code as the negative of it."""

ACTIVITIES = {
    "results/plots/": "figures",
    "certificates/chain.py": "certificates",
    "certificates/signature.py": "signature",
    "simulations/index.py": "index of a multirun",
    "experiment/erasure.py": "purge and audit",
    "experiment/cache.py": "entries of the cache",
    "experiment/checkpoint.py": "checkpoints",
    "experiment/measuring.py": "measuring",
}
"""What a process is at, by the file of the innermost call that says so."""


class Place(NamedTuple):
    """Where in a run a process is."""

    seed: int | None
    """None before the first seed and after the last."""
    stage: str


@dataclass(frozen=True)
class Kill:
    """When a process ends: at its event number ``event``, or after ``seconds``; 0 for never."""

    event: int = 0
    seconds: float = 0.0


class _StoppedClock(datetime):
    """Always the same moment."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_StoppedClock":
        return cls(2025, 1, 1, tzinfo=tz)


def run(folder: Path, arguments: Sequence[str], kill: Kill | None = None) -> tuple[int, str]:
    """Give a command in ``folder``; return its exit code and what it printed.

    A process that was killed leaves its place in ``place.json`` of ``folder``; one without a
    ``kill`` the places of all its events in ``events.json``.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.killed_runs", "benchmarks.killed_imports"])
    process = context.Process(target=_command, args=(str(folder), list(arguments), kill or Kill()))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, (folder / "log").read_text(errors="replace")


def place(folder: Path) -> Place:
    """Return where the process stood that was killed last."""
    return Place(*json.loads((folder / "place.json").read_text()))


def places(folder: Path) -> list[Place]:
    """Return where each event of an undisturbed process was."""
    return [Place(*each) for each in json.loads((folder / "events.json").read_text())]


def _command(folder: str, arguments: list[str], kill: Kill) -> None:
    """Be the process."""
    from fedunlearn.__main__ import main
    from fedunlearn.experiment import cache
    from fedunlearn.flower import client_app
    from fedunlearn.results.certificates import certificate

    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    client_app.time = SimpleNamespace(perf_counter=lambda: 0.0)  # type: ignore[assignment]
    for module in (cache, certificate):
        module.datetime = _StoppedClock  # type: ignore[attr-defined]
    seen = _watch(folder, kill)
    sys.argv = ["fedunlearn", *arguments]
    code = 0
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    seen.active = False
    if kill == Kill():
        Path("events.json").write_text(json.dumps(seen.places))
    sys.stdout.flush()
    os._exit(code)


class _Watch:
    """Counts events and notes where they were, or ends the process at one of them."""

    def __init__(self, folder: str, event: int) -> None:
        self.folder, self.event = folder, event
        self.main = threading.get_ident()
        self.places: list[Place] = []
        self.count = 0
        self.active = True

    def __call__(self, name: str, arguments: tuple[Any, ...]) -> None:
        if not self.active or name not in EVENTS or not self._inside(arguments[0]):
            return
        if name == "open" and not self._writes(arguments):
            return
        self.count += 1
        if self.event == 0:
            self.places.append(self.where())
        elif self.count == self.event:
            self.end()

    def end(self) -> None:
        """End the process here, as a power cut would; nothing is flushed or closed."""
        self.active = False
        handle = os.open(f"{self.folder}/place.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(handle, json.dumps(self.where()).encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def where(self) -> Place:
        """Return where the main thread is, whatever thread touches a file."""
        return whereabouts(sys._current_frames()[self.main])

    def _inside(self, path: object) -> bool:
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return bool(text) and (text.startswith(self.folder) or not os.path.isabs(text))

    @staticmethod
    def _writes(arguments: tuple[Any, ...]) -> bool:
        return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))


def _watch(folder: str, kill: Kill) -> _Watch:
    watch = _Watch(folder, kill.event)
    if kill.seconds:
        watch.event = sys.maxsize
        timer = threading.Timer(kill.seconds, watch.end)
        timer.daemon = True
        timer.start()
    sys.addaudithook(watch)
    return watch


def whereabouts(frame: FrameType | None) -> Place:
    """Return the place of a call stack, given its innermost frame."""
    seed, stage, activity = None, "", ""
    for each in _frames(frame):
        file, name = each.f_code.co_filename, each.f_code.co_name
        known = (word for part, word in ACTIVITIES.items() if part in file)
        activity = activity or next(known, "")
        if file.endswith("experiment/seed_run.py") and name == "_next":
            seed, stage = _seed_and_stage(each.f_locals)
        elif file.endswith("experiment/whole_run.py") and name in ("conclude", "run"):
            stage = stage or {"conclude": "answers", "run": "opening and closing"}[name]
    return Place(seed, activity or stage or "the command")


def _seed_and_stage(local: Mapping[str, Any]) -> tuple[int, str]:
    state = local["state"]
    name = state.stage.strategy
    kinds = {"shared": "training", "retrain": "references"}
    return state.seed, kinds.get(name.partition("-")[0], "strategies")


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
