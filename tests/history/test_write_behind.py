import errno
import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.files import DamagedFile, Disk
from fedunlearn.history import (
    Float32,
    Needs,
    Recorder,
    file_of,
    open_rounds,
    round_files,
)
from fedunlearn.history.encodings import Float16, Int8
from tests.support.rounds import D, done

LONG = 30


def recorders():
    return [thread for thread in threading.enumerate() if thread.name == "recorder"]


class Gate:
    """Lets rounds through to the disk one by one: release() admits one more."""

    def __init__(self):
        self.admitted, self.started = threading.Semaphore(0), threading.Semaphore(0)
        self.release = self.admitted.release

    def write(self, path, one, encoding):
        self.started.release()
        assert self.admitted.acquire(timeout=LONG)
        return round_files.write(path, one, encoding)


@pytest.fixture
def gate():
    return Gate()


class FullDisk:
    """Writes rounds as ever until it is ``full``."""

    def __init__(self, *, full):
        self.full = full

    def write(self, path, one, encoding):
        return round_files.write(path, one, encoding, Disk(sync=self.sync))

    def sync(self, handle):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)


def test_rounds_are_in_their_files_and_read_back_as_they_were(tmp_path):
    rounds = [done(number) for number in (1, 2, 12)]
    with Recorder(tmp_path / "new" / "rounds", Float32()) as recorder:
        kept = [recorder.record(one) for one in rounds]
    names = ["round-000001.safetensors", "round-000002.safetensors", "round-000012.safetensors"]
    assert sorted(os.listdir(tmp_path / "new" / "rounds")) == names
    assert [one.written() for one in kept] == list(open_rounds(tmp_path / "new" / "rounds"))
    for one, other in zip(kept, rounds, strict=True):
        assert one.number == other.number
        assert one.clients == one.updates.clients == other.updates.clients
        assert one.examples == (1, 3, 6)
        assert one.cohort_examples == 20
        assert torch.equal(one.updates.deltas, other.updates.deltas)
        assert torch.equal(one.before, other.before)
        assert torch.equal(one.broadcast, other.broadcast)
        assert torch.equal(one.share({2}), other.share({2}))
        assert one.only({5}).clients == (5,)
        assert torch.equal(one.without({0}).updates.deltas, other.without({0}).updates.deltas)
        assert one.reduced(Needs(models=True)).nbytes == 4 * D
        assert one.nbytes == other.nbytes


def test_the_recorder_stores_in_its_encoding(tmp_path):
    with Recorder(tmp_path, Int8()) as recorder:
        kept = recorder.record(done(1))
    assert kept.encoding == Int8()
    assert kept.nbytes == Int8().nbytes(3, D) + 4 * D
    decoded = Int8().decode(Int8().encode(done(1).updates.deltas), D)
    assert torch.equal(kept.updates.deltas, decoded)


def test_keep_returns_before_the_disk_does_and_reading_waits(tmp_path, gate):
    with Recorder(tmp_path, Float32(), write=gate.write) as recorder:
        kept = recorder.record(done(3))
        assert kept.number == 3
        assert not file_of(tmp_path, 3).exists()
        threading.Timer(0.05, gate.release).start()
        assert torch.equal(kept.updates.deltas, done(3).updates.deltas)
        assert file_of(tmp_path, 3).exists()


def test_a_round_on_its_way_is_scoped_without_waiting_and_its_views_wait(tmp_path, gate):
    with Recorder(tmp_path, Float32(), write=gate.write) as recorder:
        view = recorder.record(done(3)).without({2}).reduced(Needs(updates=True))
        assert view.clients == (0, 5)
        assert view.nbytes == 4 * 2 * D
        assert not file_of(tmp_path, 3).exists()
        threading.Timer(0.05, gate.release).start()
        assert torch.equal(view.updates.deltas, done(3).updates.deltas[[0, 2]])
    assert view.written() == round_files.open_round(view.path).without({2}).reduced(
        Needs(updates=True)
    )


@pytest.mark.parametrize("queue", [1, 3])
def test_the_producer_waits_for_a_disk_that_falls_behind(tmp_path, gate, queue):
    recorder = Recorder(tmp_path, Float32(), queue, gate.write)
    numbers = []

    def produce():
        for number in range(1, queue + 5):
            recorder.record(done(number))
            numbers.append(number)

    producer = threading.Thread(target=produce)
    producer.start()
    for written in range(4):
        assert gate.started.acquire(timeout=LONG)
        deadline = time.monotonic() + LONG
        while len(numbers) < written + queue + 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert numbers == list(range(1, written + queue + 2))
        gate.release()
    for _ in range(queue):
        gate.release()
    producer.join(LONG)
    recorder.close()
    assert [stored.number for stored in open_rounds(tmp_path)] == list(range(1, queue + 5))


def test_what_is_written_is_let_go(tmp_path, gate):
    with Recorder(tmp_path, Float32(), write=gate.write) as recorder:
        one = done(1)
        deltas = weakref.ref(one.updates.deltas)
        kept = recorder.record(one)
        del one
        gc.collect()
        assert deltas() is not None
        gate.release()
        assert kept.number == kept.written().number
        deadline = time.monotonic() + LONG
        while deltas() is not None and time.monotonic() < deadline:
            gc.collect()
        assert deltas() is None


def test_close_waits_for_everything_and_ends_the_thread(tmp_path, gate):
    recorder = Recorder(tmp_path, Float32(), write=gate.write)
    for number in (1, 2, 3):
        recorder.record(done(number))
    assert len(recorders()) == 1
    threading.Timer(0.05, gate.release, [3]).start()
    recorder.close()
    assert len(open_rounds(tmp_path)) == 3
    assert recorders() == []
    recorder.close()
    with pytest.raises(RuntimeError, match="Round 4 comes after the recorder was closed"):
        recorder.record(done(4))


def test_a_full_disk_is_said_when_the_next_round_comes(tmp_path):
    disk = FullDisk(full=False)
    recorder = Recorder(tmp_path, Float32(), write=disk.write)
    first = recorder.record(done(1))
    assert first.written().number == 1
    disk.full = True
    lost = recorder.record(done(2))
    with pytest.raises(Refused, match=r"round-000002\.safetensors.*No space left on device"):
        lost.updates  # noqa: B018
    disk.full = False
    for call in (lambda: recorder.record(done(3)), recorder.close, recorder.close):
        with pytest.raises(Refused, match=r"round-000002\.safetensors cannot be written"):
            call()
    assert recorders() == []
    assert os.listdir(tmp_path) == ["round-000001.safetensors"]
    assert torch.equal(first.updates.deltas, done(1).updates.deltas)


def test_after_a_round_that_failed_none_is_written(tmp_path, gate):
    recorder = Recorder(tmp_path, Float16(), write=gate.write)
    spoilt = done(2)
    spoilt.updates.deltas[1, 0] = torch.inf
    kept = [recorder.record(one) for one in (done(1), spoilt, done(3))]
    gate.release(3)
    with pytest.raises(Refused, match=r"Round 2: the updates of clients \[2\] cannot be stored"):
        recorder.close()
    assert kept[0].written().number == 1
    for lost in kept[1:]:
        with pytest.raises(Refused, match="Round 2"):
            lost.written()
    assert [stored.number for stored in open_rounds(tmp_path)] == [1]


def test_an_unforeseen_error_does_not_leave_the_producer_waiting(tmp_path):
    def fail(*_):
        raise SystemExit("gone")

    recorder = Recorder(tmp_path, Float32(), queue=1, write=fail)

    def produce():
        for number in range(1, 100):
            recorder.record(done(number))

    with pytest.raises(SystemExit, match="gone"):
        produce()
    with pytest.raises(SystemExit, match="gone"):
        recorder.close()
    assert recorders() == []


def test_an_error_of_the_block_comes_first_and_the_thread_ends(tmp_path):
    write = FullDisk(full=True).write

    def record():
        with Recorder(tmp_path, Float32(), write=write) as recorder:
            recorder.record(done(1))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        record()
    assert recorders() == []
    with (
        pytest.raises(Refused, match="round-000001"),
        Recorder(tmp_path, Float32(), write=write) as recorder,
    ):
        recorder.record(done(1))


def test_a_round_has_one_file(tmp_path):
    with Recorder(tmp_path, Float32()) as recorder:
        recorder.record(done(1))
        with pytest.raises(ValueError, match="Round 1 is kept already"):
            recorder.record(done(1))
    with Recorder(tmp_path, Float32()) as recorder:
        recorder.record(done(1, clients=(7,)))
    assert [stored.clients for stored in open_rounds(tmp_path)] == [(7,)]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"rounds cannot be written"):
        Recorder(tmp_path / "file" / "rounds", Float32())
    with pytest.raises(Refused, match="queue must be a whole number of at least 1"):
        Recorder(tmp_path, Float32(), queue=0)
    assert recorders() == []


def test_what_a_killed_process_left_half_written_goes_and_nothing_else(tmp_path):
    with Recorder(tmp_path, Float32()) as recorder:
        recorder.record(done(1))
    whole = file_of(tmp_path, 1).read_bytes()
    (tmp_path / ".round-000001.safetensors.partial").write_bytes(whole)
    (tmp_path / ".round-000002.safetensors.partial").write_bytes(whole[:100])
    (tmp_path / ".notes.partial").write_text("mine")
    assert [stored.number for stored in open_rounds(tmp_path)] == [1]
    Recorder(tmp_path, Float32()).close()
    assert sorted(os.listdir(tmp_path)) == [".notes.partial", "round-000001.safetensors"]
    assert file_of(tmp_path, 1).read_bytes() == whole


def test_rounds_are_in_order_also_beyond_six_digits(tmp_path):
    with Recorder(tmp_path, Float32()) as recorder:
        for number in (1_000_000, 999_999, 2):
            recorder.record(done(number))
    assert [stored.number for stored in open_rounds(tmp_path)] == [2, 999_999, 1_000_000]
    assert open_rounds(tmp_path / "absent") == ()


def test_a_file_under_another_rounds_name_is_refused(tmp_path):
    with Recorder(tmp_path, Float32()) as recorder:
        recorder.record(done(4))
    file_of(tmp_path, 4).rename(file_of(tmp_path, 5))
    with pytest.raises(DamagedFile, match=r"round-000005\.safetensors.*it holds round 4"):
        open_rounds(tmp_path)


ENDLESS = """
import sys
from pathlib import Path
from fedunlearn.history.encodings import Float32
from fedunlearn.history.write_behind import Recorder
from tests.support.rounds import done
with Recorder(Path(sys.argv[1]), Float32()) as recorder:
    for number in range(1, 10**6):
        recorder.record(done(number))
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.011, 0.023, 0.037])
def test_whatever_a_killed_process_finished_is_whole(tmp_path, delay):
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS, tmp_path])
    try:
        deadline = time.monotonic() + 2 * LONG
        while not file_of(tmp_path, 5).exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
    finally:
        writer.kill()
        writer.wait()
    with Recorder(tmp_path, Float32()):
        rounds = open_rounds(tmp_path)
    assert [stored.number for stored in rounds] == list(range(1, len(rounds) + 1))
    assert len(rounds) >= 5
    assert len(os.listdir(tmp_path)) == len(rounds)
    for stored in rounds:
        assert torch.equal(stored.updates.deltas, done(stored.number).updates.deltas)
