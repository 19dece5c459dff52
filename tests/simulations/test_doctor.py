"""What the doctor measures and says; fake clocks and fake speeds where the words are tested."""

import io
import itertools
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

import fedunlearn.experiment.estimate.doctor as library
import fedunlearn.experiment.estimate.throughput as timing
from fedunlearn.data import Backdoor, Digits, Dirichlet, Iid, NoPlanting, Scenario, build_federation
from fedunlearn.experiment import estimate
from fedunlearn.experiment.estimate import Speed, measure
from fedunlearn.experiment.estimate.doctor import MODES, aside, contenders, described, verdict
from fedunlearn.flower import Local, Ray
from fedunlearn.flower.engines.local import choose
from fedunlearn.local import LocalWork
from fedunlearn.models import Cnn, Mlp
from fedunlearn.simulations import __main__ as command
from fedunlearn.simulations import doctor
from fedunlearn.unlearning import ClientFailed, Training
from tests.support.world import Fragile

TINY = Scenario(Digits(), Iid(clients=3), NoPlanting(), Mlp((4,)), (), seed=5)
TRAINING = Training(rounds=1, work=LocalWork(epochs=2, batch_size=256))


def speed(rate, start=0.0):
    return Speed(start, ((1.0, rate),))


def shown(*things):
    console = Console(file=io.StringIO(), width=100)
    console.print(*things)
    return " ".join(console.file.getvalue().split())


def rounds_timed(seconds):
    """Return the rounds measured where every round takes one second."""
    clock = itertools.count().__next__
    return len(measure(Local(workers=1), TINY, TRAINING, seconds, clock).rounds)


class TestMeasure:
    @pytest.mark.parametrize("mode", MODES)
    def test_every_round_of_every_mode_takes_time_and_trains_all_records(self, mode):
        found = measure(Local(workers=2, mode=mode), TINY, TRAINING, seconds=0)
        assert len(found.rounds) == timing.LEAST
        records = sum(map(len, build_federation(TINY).train))
        assert [samples for _, samples in found.rounds] == [2 * records] * timing.LEAST
        assert all(seconds > 0 for seconds, _ in found.rounds)
        assert found.start > 0
        assert found.seconds > 0
        assert found.samples > 0

    def test_the_mode_that_is_asked_for_is_the_one_that_works(self, monkeypatch):
        asked = []

        def run(self, scenario, job, kinds):
            asked.append(self.mode)
            real(self, scenario, job, kinds)

        real = Local.run
        monkeypatch.setattr(Local, "run", run)
        for engine in contenders(Local(workers=1)).values():
            measure(engine, TINY, TRAINING, seconds=0)
        assert asked == list(MODES)

    def test_start_and_warm_up_are_not_rounds(self):
        #              asked, ready, warm-up, then the rounds
        ticks = iter([100.0, 110.0, 150.0, 151.0, 154.0, 156.0])
        found = measure(Local(workers=1), TINY, TRAINING, seconds=0, clock=ticks.__next__)
        assert found.start == 10
        assert [seconds for seconds, _ in found.rounds] == [1, 3, 2]
        assert found.seconds == 2

    @pytest.mark.parametrize(
        ("seconds", "rounds"), [(0, 3), (3, 3), (4.5, 5), (19.5, 20), (1e9, 20)]
    )
    def test_as_many_rounds_as_fit_but_neither_few_nor_many(self, seconds, rounds):
        assert rounds_timed(seconds) == rounds

    def test_a_failing_client_is_no_fast_round_even_where_it_is_tolerated(self):
        work = LocalWork(epochs=1, objective=Fragile())
        with pytest.raises(ClientFailed, match="odd batch"):
            measure(Local(workers=1), TINY, Training(tolerated_failures=3, work=work))

    def test_the_server_s_part_has_one_thread_as_in_a_run(self):
        torch.set_num_threads(2)
        measure(Local(workers=1), TINY, TRAINING, seconds=0)
        assert torch.get_num_threads() == 1

    def test_medians_forgive_an_outlier(self):
        found = Speed(0.0, ((1.0, 100), (2.0, 400), (50.0, 100)))
        assert found.seconds == 2
        assert found.samples == 100


class TestContenders:
    def test_all_modes_as_configured_otherwise(self):
        engine = Local(workers=3, mode="cohort", device="cpu")
        assert contenders(engine) == {mode: replace(engine, mode=mode) for mode in MODES}
        assert library.local(engine) is engine

    def test_another_engine_comes_last_and_only_then(self):
        engine = Ray()
        found = contenders(engine)
        assert list(found) == [*MODES, "ray"]
        assert found["ray"] is engine
        assert library.local(engine) == Local()

    @pytest.mark.parametrize("model", [Mlp((4,)), Cnn()])
    @pytest.mark.parametrize("mode", ["auto", *MODES])
    def test_auto_s_pick_does_not_depend_on_the_mode_that_is_set(self, model, mode):
        here = build_federation(replace(TINY, model=model))
        found = library.auto(Local(mode=mode, device="cpu"), here)
        assert found == choose(here.network, "cpu")


class TestVerdict:
    def test_agreement(self):
        said = verdict("workers", "it is so", {"workers": speed(190), "cohort": speed(100)})
        assert said == (
            "engine.mode=auto picks workers: it is so; measured here it is 1.9x as fast as cohort."
        )

    def test_disagreement_says_what_to_set(self):
        said = verdict("workers", "it is so", {"workers": speed(100), "cohort": speed(140)})
        assert said == (
            "engine.mode=auto picks workers: it is so; but measured here cohort is 1.4x as fast: "
            "set engine.mode=cohort."
        )

    @pytest.mark.parametrize("rate", [92, 100, 109])
    def test_ten_percent_are_no_difference(self, rate):
        said = verdict("cohort", "it is so", {"workers": speed(rate), "cohort": speed(100)})
        assert said.endswith("; measured here workers is as fast, within 10%.")

    @pytest.mark.parametrize(("rate", "end"), [(112, "set engine.mode=workers."), (89, "cohort")])
    def test_beyond_ten_percent_it_speaks(self, rate, end):
        speeds = {"workers": speed(rate), "cohort": speed(100)}
        assert f"{end}" in verdict("cohort", "it is so", speeds)
        assert "within" not in verdict("cohort", "it is so", speeds)

    def test_a_mode_that_is_set_is_kept_or_left_out(self):
        slow = {"workers": speed(200), "cohort": speed(100)}
        fast = {"workers": speed(100), "cohort": speed(200)}
        set_to = "The configuration sets engine.mode=cohort: leave it out."
        assert verdict("workers", "", slow, "cohort").endswith(f"2.0x as fast as cohort. {set_to}")
        assert verdict("workers", "", fast, "cohort").endswith(": keep engine.mode=cohort.")
        assert verdict("workers", "", fast, "workers").endswith(": set engine.mode=cohort.")
        assert set_to not in verdict("workers", "", slow, "workers")

    def test_of_three_modes_the_pick_is_held_against_the_faster_of_the_others(self):
        speeds = {"workers": speed(100), "cohort": speed(300), "halves": speed(200)}
        assert verdict("cohort", "", speeds).endswith("it is 1.5x as fast as halves.")
        assert verdict("halves", "", speeds).endswith(
            "cohort is 1.5x as fast: set engine.mode=cohort."
        )

    def test_another_engine_is_compared_with_the_faster_mode(self):
        speeds = {mode: speed(100) for mode in MODES}
        speeds |= {"cohort": speed(400), "ray": speed(50, start=16.04)}
        assert aside("ray", speeds) == (
            "engine=ray took 16.0 s to start; after that it is slower than cohort, which is 8.0x "
            "as fast."
        )
        speeds["ray"] = speed(1000, start=2)
        assert aside("ray", speeds).endswith("after that it is 2.5x as fast as cohort.")

    def test_the_table_marks_the_pick_and_no_other(self):
        speeds = {"workers": speed(1234), "cohort": speed(99)}
        said = shown(library.speed_table(speeds, "cohort", Local(workers=1, device="cpu")))
        assert "Mode on cpu, 1 thread Seconds" in said
        assert "workers 1.00 1,234 1 ► cohort (auto) 1.00 99 1" in said


class TestFacts:
    def test_who_holds_what(self):
        scenario = replace(
            TINY, partition=Dirichlet(clients=4), planting=Backdoor(), leavers=(3, 1)
        )
        here = build_federation(scenario)
        sizes = sorted(map(len, here.train))
        planted = sum(len(here.train[c]) - len(here.clean[c]) for c in (1, 3))
        held = len(here.train[1]) + len(here.train[3])
        assert sizes[0] < sizes[1] < sizes[2] < sizes[3]
        assert 0 < planted < held
        assert described(here, Training(cohort=0.5, work=LocalWork(epochs=7))) == {
            "Clients": "4, of whom 2 train in a round",
            "Records": (
                f"{sizes[0]} to {sizes[3]} a client, median {(sizes[1] + sizes[2]) / 2:.0f}; "
                "epochs a round: 7"
            ),
            "Model": f"{64 * 4 + 4 + 4 * 10 + 10} parameters",
            "Planted": f"Backdoor in {planted} of {held} records of clients 1 and 3",
        }

    def test_a_plain_federation(self):
        said = described(build_federation(TINY), TRAINING)
        assert said["Clients"] == "3, all of whom train in a round"
        assert said["Planted"] == "nothing"
        leaver = described(build_federation(replace(TINY, leavers=(1,))), TRAINING)
        assert leaver["Planted"] == "nothing"

    def test_a_machine_with_gpus_and_without_ray(self, monkeypatch):
        def version(name):
            if name == "ray":
                raise metadata.PackageNotFoundError
            return f"{name} version"

        memory = {0: 24 * 2**30, 1: 80 * 2**30}
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda n: SimpleNamespace(name=f"card {n}", total_memory=memory[n]),
        )
        monkeypatch.setattr(library.metadata, "version", version)
        monkeypatch.setattr(library, "cores", lambda: 7)
        found = library.machine()
        assert found["GPUs"].splitlines() == ["cuda:0: card 0, 24 GiB", "cuda:1: card 1, 80 GiB"]
        assert found["Ray"].startswith("not installed")
        assert "torch torch version, Flower flwr version" in found["Versions"]
        assert found["Cores"].startswith("7 ")

    def test_a_machine_without_gpus_and_with_ray(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        monkeypatch.setattr(library.metadata, "version", lambda name: "9.9")
        found = library.machine()
        assert found["GPUs"] == "none that torch sees"
        assert found["Ray"] == "9.9, for engine=ray"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command in an empty folder; it must stay empty."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", "doctor", *arguments])
        command.main()

    yield run
    assert list(tmp_path.iterdir()) == []


class TestCommand:
    def test_it_measures_says_what_auto_picks_and_writes_nothing(self, run, capsys):
        small = ["training.work.epochs=1", "training.work.batch_size=128", "partition.clients=2"]
        run("model=mlp", "engine.device=cpu", "seed=3", *small)
        said, errors = capsys.readouterr()
        assert errors == ""
        assert max(map(len, said.splitlines())) <= 100
        said = " ".join(said.split())
        for part in ("Flower", "Federation of seed 3", "2, all of whom train", "4,810 parameters"):
            assert part in said
        assert "► cohort (auto)" in said
        assert "► workers" not in said
        assert "engine.mode=auto picks cohort: small dense nets" in said
        assert "ray …" not in said
        assert "took" not in said

    def test_it_speaks_up_where_the_measurement_disagrees(self, run, capsys, monkeypatch):
        def measured(engine, scenario, training):
            seen.append((scenario.seed, training.cohort))
            return speed(rates[engine.mode])

        seen, rates = [], {"workers": 100, "cohort": 140, "halves": 120}
        monkeypatch.setattr(estimate, "measure", measured)
        run("model=cnn", "engine.device=cpu", "training.cohort=0.5", "seed=4")
        said = " ".join(capsys.readouterr().out.split())
        assert "engine.mode=auto picks workers: convolutions" in said
        assert said.endswith("cohort is 1.4x as fast: set engine.mode=cohort.")
        assert seen == [(4, 0.5)] * len(MODES)
        run("model=cnn", "engine.device=cpu", "engine.mode=cohort")
        assert capsys.readouterr().out.endswith("keep engine.mode=cohort.\n")

    def test_ray_is_measured_where_it_is_configured(self, run, capsys, monkeypatch):
        def measured(engine, scenario, training):
            return speed(10, start=16) if isinstance(engine, Ray) else speed(100)

        monkeypatch.setattr(estimate, "measure", measured)
        run("model=mlp", "engine=ray")
        said = " ".join(capsys.readouterr().out.split())
        assert "Measuring ray, which may take 15 s or more to start …" in said
        assert "Measuring workers …" in said
        assert said.endswith(
            "engine=ray took 16.0 s to start; after that it is slower than workers, which is "
            "10.0x as fast."
        )

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["modle=mlp"], "modle does not exist; did you mean model?"),
            (["model=mpl"], "model=mpl does not exist; did you mean mlp?"),
            (["engine.mode=fast"], "engine.mode=fast does not exist"),
            (["strategy.interval=0"], "strategy.interval must be a whole number"),
            (["model=lenet5"], "needs images of at least 28x28"),
            (["planting=backdoor", "planting.target=12"], "planting.target=12 is no class"),
            (["seed=-1"], "seed must be a whole number"),
            (["-m", "seed=0,1"], "examines one configuration: leave out -m"),
            (["--config-name", "mine"], "examines one configuration: leave out"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_is_a_sentence_and_exit_code_2(
        self, run, capsys, monkeypatch, arguments, sentence
    ):
        monkeypatch.setattr(estimate, "measure", lambda *_: pytest.fail("it was measured"))
        with pytest.raises(SystemExit) as left:
            run(*arguments)
        assert left.value.code == 2
        said, error = capsys.readouterr()
        assert said == ""
        assert sentence in error
        assert len(error.splitlines()) == 1

    def test_a_flag_that_prints_only_prints(self, run, capsys, monkeypatch):
        monkeypatch.setattr(estimate, "measure", lambda *_: pytest.fail("it was measured"))
        with suppress(SystemExit):  # Hydra leaves after some flags and returns after others
            run("--cfg", "job")
        assert "heldout: 0.2" in capsys.readouterr().out

    def test_the_usage_names_it(self, capsys, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", "--help"])
        with pytest.raises(SystemExit):
            command.main()
        assert "\n  doctor  " in capsys.readouterr().out
        assert doctor.main.__doc__


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray leaves files of its own open
def test_ray_is_measured_like_the_others():
    found = measure(Ray(), TINY, TRAINING, seconds=0)
    assert len(found.rounds) == timing.LEAST
    records = sum(map(len, build_federation(TINY).train))
    assert {samples for _, samples in found.rounds} == {2 * records}
    assert found.start > found.seconds
