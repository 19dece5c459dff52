import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace

import pandas as pd
import pytest
import torch
from flwr.app import ArrayRecord
from flwr.clientapp import ClientApp
from PIL import Image
from torch import nn

from benchmarks import (
    contenders,
    figures,
    footprint,
    gpu,
    memory,
    null,
    ours,
    overhead,
    plain,
    processes,
    report,
    startup,
    throughput,
)
from benchmarks.contenders import BEST_LOOP, CEILING, LOOPS, OURS, RAY
from benchmarks.processes import Lap, Player, interleaved
from benchmarks.workloads import BATCH, MNIST, WORK, WORKLOADS, Noise, Workload, lenet5, mlp
from fedunlearn.data import Dataset, build_federation
from fedunlearn.flower import InProcessGrid, Local
from fedunlearn.history import Needs
from fedunlearn.unlearning import ScopedClients, Training
from tests.support.throughput import Threaded

linux = pytest.mark.skipif(not footprint.PROC.exists(), reason="only Linux says who uses memory")


def lap(seconds, rounds=1, gpu_bytes=0):
    return Lap(rounds, seconds, seconds, gpu_bytes)


class Paced(nullcontext):
    """A player whose rounds take a known time."""

    def __init__(self, name, pace, diary):
        super().__init__(self)
        self.name, self.pace, self.diary = name, pace, diary

    def lap(self, rounds):
        self.diary.append((self.name, rounds))
        return lap(self.pace * rounds, rounds)


@pytest.fixture
def here(monkeypatch):
    """Let benchmarks run in threads of this process, with one round a lap."""
    for module in (contenders, overhead, memory, gpu):
        monkeypatch.setattr(module, "Player", Threaded)
    monkeypatch.setattr(processes, "_enough", lambda player, least: 1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


PARAMETERS = {
    "MLP": 64 * 64 + 64 + 64 * 10 + 10,
    "LeNet-5": 61_706,
    "CNN 1.66M": 1_663_370,
    "ResNet-18": 11_173_962,
}


class TestWorkloads:
    @pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))
    def test_nets_are_of_their_size_and_every_client_trains_on_exactly_so_many_records(
        self, workload
    ):
        held = build_federation(workload.scenario)
        assert [len(records) for records in held.train] == [workload.records] * workload.clients
        assert held.dataset.shape == workload.shape
        everything = [*held.train, *held.heldout]
        parts = sum(part.inputs.nbytes + part.labels.nbytes for part in everything)
        assert workload.data_bytes == parts
        assert len(held.initial) == PARAMETERS[workload.net]


@dataclass(frozen=True)
class Alike:
    """Records that are all the same, so that their order does not matter."""

    records: int

    def load(self):
        first = Noise(self.records, (1, 8, 8)).load().train
        same = first.take(torch.zeros(self.records, dtype=torch.int64))
        return Dataset(same, same, tuple("0123456789"))


SEEN = Counter()


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        SEEN[len(images)] += 1
        return self.layer(images.flatten(1))


@dataclass(frozen=True)
class Watching:
    def __call__(self, shape, classes):
        return Watched()


class TestContenders:
    def test_the_plain_loop_gives_the_weights_of_our_engine(self):
        scenario = replace(mlp(BATCH + 8, 3).scenario, dataset=Alike((BATCH + 9) * 3))
        known, models = build_federation(scenario), []

        def job(connection):
            everybody = ours.clients(connection, scenario, Training(work=WORK))
            models.extend(w for _, w in everybody.rounds(known.initial, 1, 2))

        Local(mode="workers", device="cpu").run(scenario, job)
        net = scenario.model((1, 8, 8), 10)
        weights = {name: w.clone() for name, w in known.network.layout.named(known.initial).items()}
        for _ in range(2):
            weights = plain.one_round(net, weights, list(known.train))
        assert not torch.allclose(models[1], known.initial, atol=1e-3)
        torch.testing.assert_close(known.network.layout.flatten(weights), models[1])

    @pytest.mark.filterwarnings("ignore")  # Ray's own, when it is imported
    def test_the_flower_app_gives_the_weights_of_the_plain_loop(self):
        from benchmarks import flower_ray

        workload = mlp(BATCH, 3)  # one batch, so that the order of records does not matter
        net, clients = plain.prepare(workload)
        weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        grid = InProcessGrid(flower_ray.app(workload), 3, 1)
        try:
            found = flower_ray.average(grid, 3, ArrayRecord(weights), 2).to_torch_state_dict()
        finally:
            grid.close()
        first = weights
        for _ in range(2):
            weights = plain.one_round(net, weights, clients)
        assert (weights["1.weight"] - first["1.weight"]).abs().max() > 1e-4
        torch.testing.assert_close(dict(found), weights, rtol=0, atol=1e-7)

    @pytest.mark.filterwarnings("ignore")
    def test_a_client_of_flower_s_that_fails_ends_the_benchmark(self):
        from benchmarks import flower_ray

        grid = InProcessGrid(ClientApp(), 2, 1)
        try:
            with pytest.raises(RuntimeError, match="2 of 2 clients answered"):
                flower_ray.average(grid, 2, ArrayRecord(), 1)
        finally:
            grid.close()

    @pytest.mark.parametrize("contend", [plain.ceiling, lambda *a: plain.loop(*a, threads=1)])
    def test_the_loop_and_the_ceiling_go_over_all_records_in_the_same_batches(self, here, contend):
        SEEN.clear()
        contend([2, 1], Workload("net", Watching(), (1, 8, 8), 2 * BATCH + 5, 4))
        assert SEEN == {BATCH: 3 * 4 * 2, 5: 3 * 4}

    def test_ours_run_as_many_rounds_as_they_are_told_with_as_many_clients(self, monkeypatch):
        asked, train = [], ScopedClients.train

        def spy(self, *arguments, **named):
            updates = train(self, *arguments, **named)
            asked.append(len(updates.clients))
            return updates

        monkeypatch.setattr(ScopedClients, "train", spy)
        null.contend([2, 1], clients=10, sampled=3)
        ours.contend([2, 1], mlp(10, 4), mode="cohort", cohort=0.5)
        ours.recorded([2, 1], mlp(10, 4), mode="workers", needs=Needs(updates=True))
        assert asked == [3] * 3 + [2] * 3 + [4] * 3

    def test_every_goal_names_what_is_measured(self):
        for workload, rival in contenders.WANTED:
            assert workload in WORKLOADS
            assert rival in contenders.ratios({name: [1.0] for name in contenders.CONTENDERS})


class TestTurns:
    def test_laps_are_long_enough_and_everybody_runs_once_a_repetition(self):
        diary = []
        players = {"slow": Paced("slow", 0.5, diary), "fast": Paced("fast", 0.001, diary)}
        laps = interleaved(players, 6)
        assert [lap.rounds for lap in laps["slow"]] == [1] * 6
        assert len({lap.rounds for lap in laps["fast"]}) == 1
        assert all(0.3 <= lap.seconds < 0.4 for lap in laps["fast"])
        kept = [name for name, _ in diary[-2 * 7 :]]  # one repetition more: the warm-up
        pairs = list(zip(kept[::2], kept[1::2], strict=True))
        assert set(pairs) == {("slow", "fast"), ("fast", "slow")}

    def test_the_warm_up_is_dropped(self, monkeypatch):
        monkeypatch.setattr(processes, "_enough", lambda player, least: 3)
        diary = []
        players = {"one": Paced("one", 1.0, diary)}
        assert interleaved(players, 2) == {"one": [lap(3.0, 3)] * 2}
        assert diary == [("one", 1), *[("one", 3)] * 3]

    @pytest.mark.slow
    def test_a_process_tells_how_long_its_turn_took_and_how_it_died(self):
        with Player("collections:deque", maxlen=0) as quick, Player("builtins:len") as broken:
            first, second = quick.lap(5), quick.lap(1)
            assert first.rounds == 5
            assert 0 < first.seconds < first.since_imports < second.since_imports
            assert quick.pid != os.getpid()
            with pytest.raises(RuntimeError, match=r"(?s)builtins:len failed.*TypeError"):
                broken.lap(1)
            os.kill(quick.pid, signal.SIGKILL)
            with pytest.raises(RuntimeError, match="ended without an answer"):
                quick.lap(1)
        assert not quick._process.is_alive()


class TestNumbers:
    def test_samples_a_second(self, monkeypatch):
        monkeypatch.setattr(contenders, "cores", lambda: 4)
        workload, took = mlp(60, 20), lap(2.0, rounds=10)
        assert contenders.samples_per_second(OURS, workload, took) == 60 * 20 * 10 / 2
        assert contenders.samples_per_second(CEILING, workload, took) == 4 * 60 * 20 * 10 / 2

    def test_ratios_compare_medians_and_the_better_loop(self):
        speeds = {OURS: [1, 9, 6], LOOPS[0]: [2, 2, 90], LOOPS[1]: [3], RAY: [0.5], CEILING: [8]}
        assert contenders.ratios(speeds) == {BEST_LOOP: 2.0, RAY: 12.0, CEILING: 0.75}
        assert contenders.ratios({OURS: [6], "cohort": [7], LOOPS[0]: [2]}) == {BEST_LOOP: 3.0}
        assert contenders.ratios({LOOPS[0]: [2]}) == {}

    def test_goals_of_throughput(self):
        speeds = {"LeNet-5 60 x 20": {OURS: [5.0], LOOPS[0]: [5.0]}, "ResNet-18 64 x 4": {}}
        speeds["MLP 60 x 20"] = {OURS: [60.0], LOOPS[0]: [20.0], RAY: [1.0]}
        speeds["ResNet-18 64 x 4"] = {OURS: [1.0], CEILING: [2.0]}
        speeds["CNN 1.66M 600 x 10"] = {OURS: [2.0], RAY: [1.0]}
        assert throughput.goals(speeds).splitlines()[2:] == [
            f"| LeNet-5 60 x 20 | {BEST_LOOP} | ≥ 1.25 | 1 | no |",
            "| ResNet-18 64 x 4 | ceiling | ≥ 0.9 | 0.5 | no |",
            f"| MLP 60 x 20 | {BEST_LOOP} | ≥ 3 | 3 | yes |",
            "| MLP 60 x 20 | Flower Ray | ≥ 30 | 60 | yes |",
            "| CNN 1.66M 600 x 10 | Flower Ray |  | 2 |  |",
        ]

    def test_start_up_ends_with_the_first_round_and_begins_after_the_imports(self, monkeypatch):
        took = iter([9.0, 9.0, 1.0, 2.0, 3.0, 4.0])

        class Started(nullcontext):
            def lap(self, rounds):
                assert rounds == 1
                return Lap(1, 0.5, next(took), 0)

        monkeypatch.setattr(
            contenders.Contender, "start", lambda self, workload: Started(Started())
        )
        seconds = startup.measured(mlp(10, 4), [OURS, RAY], 2)
        assert sorted(value for held in seconds.values() for value in held) == [1.0, 2.0, 3.0, 4.0]

    def test_overhead_is_the_time_of_one_round(self):
        cases = {("a", "b", 1, 1): Paced("x", 0.1, []), ("a", "b", 2, 1): Paced("y", 1.0, [])}
        seconds = overhead.measured(cases, 2)
        assert {case: pytest.approx(player.pace) for case, player in cases.items()} == {
            case: held[0] for case, held in seconds.items()
        }

    def test_goals_of_start_up(self):
        assert startup.goals({OURS: [1.0, 2.5, 1.5], RAY: [11.0]}).splitlines()[2:] == [
            "| seconds | ≤ 2 | 1.5 | yes |",
            "| times sooner than Flower Ray | ≥ 8 | 7.33 | no |",
        ]

    def test_goals_of_overhead(self):
        null = {("fedunlearn", 10): 0.01, ("fedunlearn", 1000): 0.05, (RAY, 1000): 6.0}
        seconds = {("null training", who, 1000, asked): [t] for (who, asked), t in null.items()}
        for measure, took in zip(overhead.RECORDING, (0.2, 0.21), strict=True):
            seconds[measure, "fedunlearn", 20, 20] = [took]
        assert overhead.goals(seconds).splitlines()[2:] == [
            "| null round, 1,000 of 1,000: times Flower Ray | ≥ 100 | 120 | yes |",
            "| time a round, 1,000 asked over 10 | ≤ 100 | 5 | yes |",
            "| share of a round that recording adds, % | ≤ 10 | 5 | yes |",
        ]

    def test_goals_of_memory_are_judged_by_the_larger_measure(self):
        case = memory.Case("fedunlearn", Workload("MLP", None, (1, 8, 8), 20, 10_000), 0.01)
        data = 21 * 10_000 * (64 * 4 + 8)
        peak = footprint.Peak(pss=int(8e8) + data, rss=int(1.6e9) + data)
        (line,) = memory.summary({case: [peak]}).splitlines()[2:]
        assert line.startswith("| fedunlearn, 10,000 clients, 100 asked | 55.4 | 855 | 1,660 |")
        assert line.endswith("| ≤ 1,500 | 1,600 | no |")

    def test_operations_of_lenet5(self):
        convolutions = 28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25
        dense = 400 * 120 + 120 * 84 + 84 * 10
        # forward once and backward twice as much, but for the gradient of the images
        expected = 2 * (2 * convolutions[0] + 3 * (convolutions[1] + dense))
        assert gpu.flops(lenet5(60, 10)) == expected

    def test_the_row_of_a_gpu(self):
        workload = Workload("LeNet-5", lenet5(60, 1).model, MNIST, 60, 100)
        limit = gpu.flops(workload) * 6000 * 5 / (2 * gpu.SIDE**3)
        laps = {OURS: [lap(1.0, gpu_bytes=int(3e9))], LOOPS[0]: [lap(12.0)]}
        row = gpu.row(workload, laps | {gpu.MATRIX: [lap(1 / limit)]})
        assert row[:6] == ["LeNet-5 60 x 100", "6,000", "500", "≥ 10", "12", "yes"]
        assert row[-2:] == ["20.0%", "3,000"]

    @pytest.mark.parametrize(
        ("value", "text"), [(412_345, "412,000"), (0.01234, "0.0123"), (8, "8"), (99.96, "100")]
    )
    def test_numbers_have_three_digits(self, value, text):
        assert report.number(value) == text

    def test_figures_write_numbers_in_little_space(self):
        assert [figures.short(x) for x in (0.05, 9_990, 41_200, 1.2e6)] == [
            "0.05", "9,990", "41.2k", "1.2M",
        ]  # fmt: skip


@linux
def test_memory_of_a_process_and_what_it_started():
    hungry = "held = b'x' * 10**8; print(len(held), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", hungry], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        child.stdout.readline()
        assert child.pid in footprint.tree(os.getpid())
        assert footprint.tree(child.pid) == {child.pid}
        with footprint.watched(child.pid) as alone, footprint.watched(os.getpid()) as both:
            pass
        assert 1e8 < alone.pss <= alone.rss < 2e8
        assert both.rss > alone.rss + 1e8  # torch is at least as large
    finally:
        child.communicate(b"\n")


class TestScripts:
    """Each script at its smallest: what it prints, writes and draws."""

    @pytest.fixture
    def files(self, tmp_path):
        return ["--out", str(tmp_path / "o.csv"), "--figure", str(tmp_path / "f.png")]

    def written(self, files):
        with Image.open(files[3]) as image:
            assert min(image.size) > 50
            assert len(image.convert("L").getcolors()) > 2
        return pd.read_csv(files[1])

    def test_throughput(self, here, files, capsys):
        rivals = [OURS, "cohort", "workers", *LOOPS, CEILING]
        throughput.main(
            ["--workloads", "MLP 60 x 20", "--contenders", *rivals, "--repetitions", "2", *files]
        )
        rows = self.written(files)
        assert list(rows) == ["workload", "contender", "repetition", "samples_per_second"]
        assert list(rows.groupby("contender").size().items()) == [(r, 2) for r in sorted(rivals)]
        assert (rows["samples_per_second"] > 0).all()
        assert set(rows["repetition"]) == {1, 2}
        printed = capsys.readouterr().out
        assert f"{torch.__version__.partition('+')[0]}" in printed
        assert f"| samples/s | {' | '.join(rivals)} |" in printed
        assert f"| MLP 60 x 20 | {BEST_LOOP} | ≥ 3 |" in printed

    def test_throughput_where_there_is_no_gpu(self, files, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        throughput.main(["--device", "cuda", *files])
        assert "There is no GPU" in capsys.readouterr().out
        assert not list(tmp_path.iterdir())

    def test_startup(self, here, files, capsys):
        startup.main(["--contenders", OURS, CEILING, "--repetitions", "2", *files])
        rows = self.written(files)
        assert list(rows) == ["contender", "repetition", "seconds"]
        assert len(rows) == 4
        assert "| seconds | ≤ 2 |" in capsys.readouterr().out

    @pytest.mark.slow
    def test_overhead(self, here, files, capsys):
        overhead.main(["--sizes", "10", "1000", "--repetitions", "1", *files])
        rows = self.written(files)
        assert list(rows) == [*overhead.COLUMNS]
        assert list(zip(rows["clients"], rows["sampled"], strict=True)) == [
            (10, 10), (1000, 10), (1000, 100), (1000, 1000), (20, 20), (20, 20),
        ]  # fmt: skip
        assert (rows["seconds_per_round"] > 0).all()
        assert "| time a round, 1,000 asked over 10 | ≤ 100 |" in capsys.readouterr().out

    @linux
    def test_memory(self, here, files, capsys):
        memory.main(["--clients", "200", "--repetitions", "1", *files])
        rows = self.written(files)
        assert list(rows) == [*memory.COLUMNS]
        assert rows["data_bytes"][0] == mlp(20, 200).data_bytes
        assert rows["rss_bytes"][0] >= rows["pss_bytes"][0] > 1e8
        assert "| fedunlearn, 200 clients, 100 asked |" in capsys.readouterr().out

    def test_no_repetitions_are_refused(self, capsys):
        with pytest.raises(SystemExit):
            throughput.main(["--repetitions", "0"])
        assert "at least one" in capsys.readouterr().err

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")
    def test_flower_ray_in_a_process_of_its_own(self, files):
        throughput.main(
            ["--workloads", "MLP 60 x 20", "--contenders", OURS, RAY, "--repetitions", "1", *files]
        )
        speeds = self.written(files).set_index("contender")["samples_per_second"]
        assert speeds[OURS] > 0
        assert speeds[RAY] > 0
