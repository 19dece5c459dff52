"""Contenders that record and replay a history in processes of their own, some under a limit."""

import os
import resource
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import disk, ours
from benchmarks.footprint import PROC
from benchmarks.workloads import WORK, Workload
from fedunlearn.data import build_federation
from fedunlearn.flower import Connection, Local
from fedunlearn.history import History, Needs, OnDisk, Round, open_rounds, opened
from fedunlearn.unlearning import FederationState, Training, train


def training(turns: Iterable[int], workload: Workload, folder: Path, needs: Needs) -> None:
    """Train as a run does before a withdrawal, keeping in ``folder`` what ``needs`` asks.

    A turn ends when the disk has all of it.
    """
    torch.set_num_threads(1)
    scenario, settings = workload.scenario, Training(work=WORK)

    def job(connection: Connection) -> None:
        here = build_federation(scenario)
        start = History(here.network.layout, here.initial, here.initial)
        for rounds in turns:
            everybody = ours.clients(connection, scenario, settings)
            with opened(OnDisk(), folder, nbytes=1) as record:
                course = FederationState(replace(start, record=record), everybody.ids)
                for _ in train(course, everybody, rounds, needs):
                    pass

    Local(device="cpu").run(scenario, job)


def recording(turns: Iterable[int], folder: Path, clients: int) -> None:
    """Record as many rounds as a turn says, each in memory of its own, as training's are."""
    torch.set_num_threads(1)
    model = disk.drawn(clients)
    for rounds in turns:
        if rounds:
            disk.record(folder, _anew(model, rounds))


def replaying(turns: Iterable[int], folder: Path, budget: float | None = None) -> None:
    """Open, verify and replay a history as often as a turn says, in ``budget`` bytes."""
    torch.set_num_threads(1)
    _allow(budget)
    for times in turns:
        for _ in range(times):
            disk.replay(open_rounds(folder))


def hoarding(turns: Iterable[int], folder: Path, budget: float | None = None) -> None:
    """Do as `replaying`, but hold all rounds at once, as lists of updates do."""
    torch.set_num_threads(1)
    _allow(budget)
    for times in turns:
        for _ in range(times):
            held = [stored.updates for stored in open_rounds(folder)]
            disk.replay(Round(1, updates, 0) for updates in held)


def memory(process: int, name: str) -> int:
    """Return what Linux says of a process's memory, in bytes: VmRSS, VmHWM (its peak), VmSize.

    Raises RuntimeError where there is no ``/proc/PID/status``.
    """
    status = PROC / str(process) / "status"
    if not status.exists():
        raise RuntimeError("Memory is read from /proc/PID/status, which only Linux has.")
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return 1024 * int(fields[name].split()[0])


def _anew(model: Round, rounds: int) -> Iterator[Round]:
    """Yield rounds that share no memory."""
    for one in disk.numbered(model, rounds):
        yield replace(one, updates=replace(one.updates, deltas=one.updates.deltas.clone()))


def _allow(budget: float | None) -> None:
    """Let this process have ``budget`` more bytes of address space: heap and mapped files alike."""
    if budget is not None:
        most = memory(os.getpid(), "VmSize") + int(budget)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
