import io
import os
import shutil
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks import disk, footprint, store, store_cases, store_memory, stored
from benchmarks.store_cases import COLD, NEEDS, RECORDER, TRAINING, WARM, WRITING, Size
from benchmarks.store_memory import LIMIT, MEMORY
from benchmarks.workloads import CLASSES, MNIST
from fedunlearn.history import open_rounds
from fedunlearn.models import LeNet5, mean
from tests.support.throughput import Threaded

linux = pytest.mark.skipif(not footprint.PROC.exists(), reason="only Linux says who uses memory")
CLIENTS, ROUNDS = 4, 3
SIZES = ["--repetitions", "2", "--clients", str(CLIENTS), "--rounds", str(ROUNDS)]


def rounds(count=ROUNDS, clients=CLIENTS):
    """Rounds of which each holds other updates."""
    model = disk.drawn(clients)
    for number in range(1, count + 1):
        sent = replace(model.updates, deltas=model.updates.deltas * number)
        yield replace(model, number=number, updates=sent)


@pytest.fixture
def here(monkeypatch):
    """Let all but what has a limit run in threads of this process."""
    monkeypatch.setattr(store_cases, "Player", Threaded)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class TestDisk:
    def test_a_round_has_the_shape_of_lenet5_s(self):
        one = disk.drawn(CLIENTS)
        assert sum(p.numel() for p in LeNet5()(MNIST, CLASSES).parameters()) == disk.PARAMETERS
        assert one.updates.deltas.shape == (CLIENTS, disk.PARAMETERS)
        assert one.nbytes == Size(None, CLIENTS, 1).nbytes
        assert one.updates.deltas.std() == pytest.approx(1, abs=0.01)

    def test_plain_files_hold_the_bytes_and_the_disk_has_each(self, tmp_path):
        synced = []

        def sync(handle):
            synced.append(os.fstat(handle).st_size)
            os.fsync(handle)

        files = [tmp_path / "a", tmp_path / "b"]
        disk.write(files, b"abc", times=2, sync=sync)
        assert [file.read_bytes() for file in files] == [b"abcabc"] * 2
        assert synced == [6, 6]

    def test_a_replay_adds_the_means_of_those_who_remain(self, tmp_path):
        disk.record(tmp_path, rounds())
        sent = disk.drawn(CLIENTS).updates
        for leavers in (disk.LEAVERS, frozenset()):
            kept = sent.without(leavers)
            expected = (1 + 2 + 3) * mean(kept.deltas, kept.examples)
            torch.testing.assert_close(disk.replay(open_rounds(tmp_path), leavers), expected)

    def test_reading_goes_to_the_end(self):
        files = [Watched(bytes(3 * 2**20 + 5)), Watched(b"")]
        disk.read(files)
        assert [file.reached for file in files] == [3 * 2**20 + 5, 0]

    @pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system has no such call")
    def test_a_file_is_dropped_or_it_is_said_that_it_is_not(self, tmp_path):
        file = tmp_path / "file"
        disk.write([file], b"abc")
        disk.read([file])
        assert disk._cached(file)
        assert disk.drop([file]) != disk._cached(file)
        assert file.read_bytes() == b"abc"


class Watched(io.BytesIO):
    """Stands for a file, and remembers how far it was read."""

    def open(self, mode, buffering):
        return self

    def close(self):
        self.reached = self.tell()
        super().close()


class TestCases:
    def test_everything_is_measured_and_nothing_is_left(self, here, tmp_path):
        size = Size(tmp_path, CLIENTS, ROUNDS)
        with store_cases.laps(size) as cases:
            values = {case: [lap() for _ in range(2)] for case, lap in cases.items()}
        assert list(tmp_path.iterdir()) == []
        assert all(value > 0 for held in values.values() for value in held)
        assert [name for measure, name in values if measure == TRAINING] == list(NEEDS)
        counts = Counter(measure for measure, _ in values)
        assert (counts[WRITING], counts[WARM]) == (3, 4)
        assert counts[COLD] in (0, 4)

    def test_plain_files_and_rounds_are_as_many_bytes(self, here, tmp_path, monkeypatch):
        written, real = [], shutil.rmtree

        def remove(place):
            written.append(sum(file.stat().st_size for file in place.iterdir()))
            real(place)

        size = Size(tmp_path, CLIENTS, ROUNDS)
        with store_cases.laps(size) as cases:
            monkeypatch.setattr(shutil, "rmtree", remove)
            for (measure, _), lap in cases.items():
                if measure == WRITING:
                    lap()
            trained = len(written)
            cases[TRAINING, "history=none"]()
            cases[TRAINING, "history=disk"]()
        assert max(written[:trained]) - min(written[:trained]) <= 16 * ROUNDS
        assert written[0] == pytest.approx(size.nbytes, rel=0.01)
        assert written[trained] == 0
        assert written[trained + 1] == pytest.approx(size.nbytes, rel=0.01)

    def test_rates_are_bytes_over_seconds(self, here, tmp_path, monkeypatch):
        size = Size(tmp_path, CLIENTS, ROUNDS)
        with store_cases.laps(size) as cases:
            monkeypatch.setattr(store_cases, "_seconds", lambda work: 0.5)
            rates = [lap() for (measure, _), lap in cases.items() if measure != TRAINING]
        assert rates == [pytest.approx(2 * size.nbytes / 1e6, rel=0.01)] * len(rates)

    def test_everybody_has_a_lap_a_repetition_and_the_first_is_dropped(self):
        diary = []

        def lap(name):
            diary.append(name)
            return len(diary)

        values = store_cases.interleaved({n: partial(lap, n) for n in "abc"}, 3)
        assert [sorted(diary[at : at + 3]) for at in range(0, 12, 3)] == [["a", "b", "c"]] * 4
        assert sorted(value for held in values.values() for value in held) == list(range(4, 13))
        assert len({tuple(diary[at : at + 3]) for at in range(0, 12, 3)}) > 1


@linux
class TestMemory:
    @pytest.mark.slow
    def test_a_replay_needs_a_tenth_of_its_history_and_holding_all_fails(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(store_memory, "BUDGET", 12e6)
        found = store_memory.limited(Size(tmp_path, CLIENTS, ROUNDS))
        assert 10 <= found[LIMIT, store_memory.ONE_BY_ONE] < 11
        assert found[LIMIT, store_memory.AT_ONCE] == 0
        assert list(tmp_path.iterdir()) == []

    def test_what_ends_a_replay_for_another_reason_is_raised(self, here, tmp_path, monkeypatch):
        monkeypatch.setattr(store_memory, "Player", Threaded)
        disk.record(tmp_path, rounds(1))
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:-1])
        monkeypatch.setattr(store_memory, "BUDGET", None)
        with pytest.raises(RuntimeError, match="does not match its checksum"):
            store_memory._survives(store_memory.CONTENDERS[store_memory.ONE_BY_ONE], tmp_path)

    def test_only_the_limited_get_another_allocator(self, monkeypatch, tmp_path):
        seen = []

        class Started(nullcontext):
            def __init__(self, function, **arguments):
                super().__init__(self)
                seen.append({name: os.environ.get(name) for name in store_memory.STEADY})

            def lap(self, rounds):
                return None

        monkeypatch.setattr(store_memory, "Player", Started)
        assert store_memory._survives("any", tmp_path)
        assert seen == [store_memory.STEADY]
        assert not store_memory.STEADY.keys() & os.environ.keys()

    def test_peaks_are_of_few_rounds_and_of_many(self, tmp_path, monkeypatch):
        turns, sizes = [], iter(range(0, 10**9, 10**6))

        class Scripted(nullcontext):
            pid = 1

            def __init__(self, function, **arguments):
                super().__init__(self)
                self.function = function
                (tmp_path / "peaks").mkdir(exist_ok=True)

            def lap(self, rounds):
                turns.append((self.function.partition(":")[2], rounds))

        monkeypatch.setattr(store_memory, "Player", Scripted)
        monkeypatch.setattr(stored, "memory", lambda process, name: next(sizes))
        found = store_memory.peaks(Size(tmp_path, CLIENTS, ROUNDS))
        assert set(found.values()) == {1.0}
        works = [("recording", 3), ("replaying", 1), ("recording", 30), ("replaying", 1)]
        assert turns == [turn for work, n in works for turn in ((work, 0), (work, n))]
        assert [name for _, name in found] == [
            "recording 3 rounds", "replaying 3 rounds", "recording 30 rounds",
            "replaying 30 rounds",
        ]  # fmt: skip

    def test_memory_is_that_of_the_process(self):
        sizes = [stored.memory(os.getpid(), name) for name in ("VmRSS", "VmHWM", "VmSize")]
        assert 10**8 < sizes[0] <= sizes[1] < sizes[2]

    def test_contenders_do_as_often_as_a_turn_says(self, here, tmp_path, monkeypatch):
        stored.recording([0, 2, 3], tmp_path, CLIENTS)
        assert [one.number for one in open_rounds(tmp_path)] == [1, 2, 3]
        done = []
        monkeypatch.setattr(disk, "replay", lambda rounds: done.append(len(list(rounds))))
        stored.replaying([0, 2, 1], tmp_path)
        stored.hoarding([0, 1], tmp_path)
        assert done == [3] * 4

    def test_recorded_rounds_share_no_memory(self):
        model = disk.drawn(CLIENTS)
        one, other = stored._anew(model, 2)
        assert torch.equal(one.updates.deltas, other.updates.deltas)
        assert one.updates.deltas.data_ptr() != other.updates.deltas.data_ptr()


MEASURED = {
    (WRITING, store_cases.PLAIN): [100.0, 90.0, 110.0],
    (WRITING, RECORDER): [60.0],
    (COLD, store_cases.PLAIN): [100.0],
    (COLD, store_cases.REPLAY): [59.0],
    (COLD, store_cases.OPENED): [61.0],
    (TRAINING, "history=none"): [100.0],
    (TRAINING, "history=disk"): [111.0],
    (MEMORY, "recording 3 rounds"): [10.0],
    (MEMORY, "recording 30 rounds"): [10.1],
    (MEMORY, "replaying 3 rounds"): [10.0],
    (MEMORY, "replaying 30 rounds"): [21.0],
    (LIMIT, store_memory.ONE_BY_ONE): [10.0],
    (LIMIT, store_memory.AT_ONCE): [0.0],
}


def test_goals():
    size = Size(None, CLIENTS, ROUNDS)
    added = 9 * size.nbytes / 1e6
    lines = [line.rsplit("|", 4)[1:4] for line in store.goals(MEASURED, size).splitlines()[2:]]
    percents = [store.report.number(100 * more / added) for more in (0.1, 11.0)]
    assert [[cell.strip() for cell in cells] for cells in lines] == [
        ["≥ 0.6", "0.6", "yes"],
        ["≥ 0.6", "0.59", "no"],
        ["≥ 0.6", "0.61", "yes"],
        ["≤ 10", "11", "no"],
        ["≤ 1", percents[0], "yes"],
        ["≤ 1", percents[1], "no"],
        ["≥ 10", "10", "yes"],
    ]


def test_the_script_prints_writes_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store_cases, "laps", lambda size: nullcontext({}))
    monkeypatch.setattr(
        store_cases,
        "interleaved",
        lambda laps, times: {case: [held[0]] * times for case, held in MEASURED.items()
                             if case[0] in store_cases.UNITS},
    )  # fmt: skip
    for name in ("peaks", "limited"):
        unit = {"peaks": MEMORY, "limited": LIMIT}[name]
        found = {case: held[0] for case, held in MEASURED.items() if case[0] == unit}
        monkeypatch.setattr(store_memory, name, lambda size, found=found: found)
    out, figure, place = tmp_path / "o.csv", tmp_path / "f.png", tmp_path / "here"
    store.main(["--out", str(out), "--figure", str(figure), "--folder", str(place), *SIZES])
    table = pd.read_csv(out)
    assert list(table) == [*store.COLUMNS]
    assert len(table) == 2 * len(MEASURED)
    for (measure, contender), held in MEASURED.items():
        rows = table[(table.measure == measure) & (table.contender == contender)]
        assert list(rows.value) == held[:1] * 2
        assert list(rows.repetition) == [1, 2]
        assert set(rows.unit) == {store.UNITS[measure]}
    assert list(place.iterdir()) == []
    with Image.open(figure) as image:
        assert min(image.size) > 50
        assert len(image.convert("L").getcolors()) > 2
    printed = capsys.readouterr().out
    assert "| writing | recorder | MB/s | 60 | 60 | 60 |" in printed
    assert "| writing: recorder, share of plain, a file a round | ≥ 0.6 | 0.6 | yes |" in printed


@linux
@pytest.mark.slow
def test_the_script_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(store_memory, "BUDGET", 12e6)
    out = tmp_path / "o.csv"
    store.main(["--out", str(out), "--folder", str(tmp_path), *SIZES])
    measures = set(pd.read_csv(out).measure)
    assert {WRITING, WARM, TRAINING, MEMORY, LIMIT} <= measures <= set(store.UNITS)
    assert list(tmp_path.iterdir()) == [out]
