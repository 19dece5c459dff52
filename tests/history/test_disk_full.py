"""A disk that is full in the middle of a run: a sentence, and everything before is whole."""

import errno
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from fedunlearn import sealed_files
from fedunlearn.checks import Refused
from fedunlearn.data import Dirichlet, NoPlanting
from fedunlearn.evaluators import Utility
from fedunlearn.experiment import Evaluation, Experiment, run
from fedunlearn.history import OnDisk, file_of
from fedunlearn.history.round_files import open_round
from fedunlearn.local import LocalWork
from fedunlearn.models import Mlp
from fedunlearn.sealed_files import PARTIAL
from fedunlearn.unlearning import Plain, Request, Training
from strategies.fedaccum import FedAccum
from strategies.retrain import Retrain
from tests.support.slow import slowly
from tests.support.world import FewDigits

resource = pytest.importorskip("resource", reason="this system limits no files")

LEAVER, EVERYBODY, REMAINING = 1, (0, 1, 2, 3), (0, 2, 3)
SMALL = Experiment(
    dataset=FewDigits(),
    partition=Dirichlet(clients=len(EVERYBODY)),
    planting=NoPlanting(),
    model=Mlp((32,)),
    training=Training(rounds=6, work=LocalWork(epochs=1)),
    requests=(Request(frozenset({LEAVER}), 4),),
    strategies={"fedaccum": FedAccum()},
    reference=Retrain(),
    evaluation=Evaluation((Utility(),)),
    recovery=Plain(rounds=1),
    store=OnDisk(),
)
TRAINING, AFTER, RECOVERY = "training", "fedaccum", "fedaccum/recovery1"
ORDER = [*((TRAINING, n) for n in (1, 2, 3, 4)), (RECOVERY, 5), (AFTER, 5), (AFTER, 6)]
"""The rounds in the order in which they are recorded; the leaver is purged before the last two."""


def carried_out(folder, *, resume=False):
    console = Console(file=io.StringIO())
    return run(SMALL, [0], folder, {}, console, resume=resume)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run on a disk with room, and each round's file as it was first written."""
    folder, written, real = tmp_path_factory.mktemp("undisturbed"), {}, sealed_files.write

    def write(path, *rest):
        stamp = real(path, *rest)
        written.setdefault(path.relative_to(folder), path.read_bytes())  # a purge writes again
        return stamp

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed_files, "write", write)
        carried_out(folder)
    written = {path: content for path, content in written.items() if path.name.startswith("round-")}
    return folder, written


class Full(io.FileIO):
    """A file on a disk with room for so many bytes: what fits is written, as disks do."""

    def __init__(self, path, room):
        super().__init__(path, "wb")
        self.room = room

    def write(self, content):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(memoryview(content).cast("B")[: self.room])
        self.room -= written
        return written


def fill(monkeypatch, path, room, time=1):
    """Let the disk be full after ``room`` bytes of ``path``, when it is written that time."""
    partial, times, real = path.with_name(f".{path.name}{PARTIAL}"), [], Path.open

    def open_(self, mode="r", *rest, **named):
        if self == partial and mode == "wb":
            times.append(len(times) + 1)
            if len(times) == time:
                return io.BufferedWriter(Full(self, room))
        return real(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", open_)
    return times


def name(phase, number):
    return file_of(Path("history/seed0") / phase, number)


def stopped(folder):
    """Carry out a run that a disk stops; return the sentence that it stops with."""
    with pytest.raises(Refused) as refusal:
        carried_out(folder)
    return str(refusal.value)


def check(folder, undisturbed, earlier, purged=()):
    """The rounds ``earlier`` and no others are there and whole, and nothing else is partial.

    Of those in ``purged`` the leaver is gone already, of the others as they were written.
    """
    before, written = undisturbed
    found = {path.relative_to(folder) for path in folder.rglob("round-*")}
    assert found == {*earlier}
    for path in found:
        expected = (before / path).read_bytes() if path in purged else written[path]
        assert (folder / path).read_bytes() == expected
        stored = open_round(folder / path)
        held = path.parent.name == TRAINING and path not in purged
        assert stored.clients == (EVERYBODY if held else REMAINING)
        assert len(stored.updates.deltas) == len(stored.clients)
    assert list(folder.rglob(f".*{PARTIAL}")) == []
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"
    rows = (folder / "metrics.csv").read_bytes()
    assert rows.endswith(b"\n")
    assert (before / "metrics.csv").read_bytes().startswith(rows)


def check_resumed(folder, undisturbed):
    """With room again, the run goes on and ends as the one that was not disturbed."""
    carried_out(folder, resume=True)
    before = undisturbed[0]
    for pattern in ("metrics.csv", "models/*", "history/**/round-*"):
        names = {path.relative_to(before) for path in before.glob(pattern)}
        assert {path.relative_to(folder) for path in folder.glob(pattern)} == names != set()
        assert all((folder / one).read_bytes() == (before / one).read_bytes() for one in names)


@pytest.mark.parametrize(
    ("phase", "number", "room"),
    [
        (TRAINING, 3, 20),
        (RECOVERY, 5, 20_000),
        *slowly((TRAINING, 1, 0), (TRAINING, 4, 20_000), (AFTER, 6, 20_000)),
    ],
)
def test_a_round_that_does_not_fit(phase, number, room, undisturbed, tmp_path, monkeypatch):
    path = tmp_path / name(phase, number)
    with monkeypatch.context() as disk:
        times = fill(disk, path, room)
        assert stopped(tmp_path).startswith(f"{path} cannot be written: No space left on device.")
    assert times == [1]
    assert list(undisturbed[1]) == [name(*one) for one in ORDER]
    earlier = [name(*one) for one in ORDER[: ORDER.index((phase, number))]]
    check(tmp_path, undisturbed, earlier, earlier if phase == AFTER else ())
    check_resumed(tmp_path, undisturbed)


def test_a_purge_that_does_not_fit(undisturbed, tmp_path, monkeypatch):
    with monkeypatch.context() as disk:
        times = fill(disk, tmp_path / name(TRAINING, 3), 20_000, time=2)
        assert "round-000003.safetensors cannot be written: No space left" in stopped(tmp_path)
    assert times == [1, 2]
    earlier = [name(*one) for one in ORDER[:5]]
    check(tmp_path, undisturbed, earlier, purged=earlier[:2])
    check_resumed(tmp_path, undisturbed)


def test_a_file_that_the_system_itself_cuts_off(undisturbed, tmp_path, monkeypatch):
    """Nothing is feigned: the kernel takes half of the third round and refuses the rest."""
    limits, real = resource.getrlimit(resource.RLIMIT_FSIZE), sealed_files.write
    largest = []

    def write(path, *rest):
        if path != tmp_path / name(TRAINING, 3):
            return real(path, *rest)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            return real(path, *rest)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def unlink(self, missing_ok=False):
        if self.name == f".round-000003.safetensors{PARTIAL}":
            largest.append(self.stat().st_size)
        return real_unlink(self, missing_ok)

    real_unlink = Path.unlink
    with monkeypatch.context() as disk:
        disk.setattr(sealed_files, "write", write)
        disk.setattr(Path, "unlink", unlink)
        assert "round-000003.safetensors cannot be written: File too large" in stopped(tmp_path)
    assert largest == [20_000]
    check(tmp_path, undisturbed, [name(*one) for one in ORDER[:2]])
    check_resumed(tmp_path, undisturbed)
