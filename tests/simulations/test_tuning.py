"""Searches by Optuna: what they may try, what they propose, and that they go on when killed."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import optuna
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.utils import instantiate
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from fedunlearn.checks import Refused
from fedunlearn.simulations import guard, search_space, trials, tuning, withdraw
from fedunlearn.simulations.search import HOPELESS, REPEATS, Search

ROOT = Path(__file__).parents[2]


def parsed(*overrides):
    return OverridesParser.create().parse_overrides(list(overrides))


class TestSpace:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("1,2,4", CategoricalDistribution(["1", "2", "4"])),
            ("choice(a,b)", CategoricalDistribution(["a", "b"])),
            ("range(1,9)", IntDistribution(1, 8)),
            ("range(1,9,3)", IntDistribution(1, 7, step=3)),
            ("range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
            ("interval(0.1,1)", FloatDistribution(0.1, 1.0)),
            ("interval(1,100)", FloatDistribution(1.0, 100.0)),
            ("int(interval(1,64))", IntDistribution(1, 64)),
            ("tag(log,interval(0.01,1))", FloatDistribution(0.01, 1.0, log=True)),
            ("tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ],
    )
    def test_hydra_s_words_mean_what_they_say(self, value, expected):
        (override,) = parsed(f"a.b={value}")
        assert search_space.distribution(override) == expected

    def test_what_is_not_searched_is_common_to_all_and_the_last_word_counts(self):
        space, fixed = search_space.split(
            parsed("a=1,2", "b=range(1,3)", "c=5", "d=[1,2]", "a=7", "c=interval(0,1)", "+e=x")
        )
        assert space == {"b": IntDistribution(1, 2), "c": FloatDistribution(0.0, 1.0)}
        assert fixed == ["d=[1,2]", "a=7", "+e=x"]

    def test_something_must_be_left_open(self):
        with pytest.raises(Refused, match="nothing to search"):
            search_space.split(parsed("a=1"))

    def test_the_configured_values_are_taken_where_they_are_in_the_space(self):
        space = {
            "a.whole": IntDistribution(1, 8),
            "a.choice": CategoricalDistribution(["1", "2"]),
            "a.share": FloatDistribution(0.1, 1.0),
            "a.far": FloatDistribution(0.1, 1.0),
            "a.word": CategoricalDistribution(["x", "y"]),
            "a.other": CategoricalDistribution(["x", "y"]),
            "a.group": CategoricalDistribution(["x", "y"]),
            "a.missing": IntDistribution(1, 8),
            "a.null": FloatDistribution(0.0, 1.0),
        }
        held = {"whole": 2, "choice": 2, "share": 0.5, "far": 3.0, "word": "y", "other": "z"}
        cfg = OmegaConf.create({"a": {**held, "group": {"x": 1}, "null": None}})
        assert search_space.defaults(space, cfg) == {
            **{"a.whole": 2, "a.choice": "2", "a.share": 0.5, "a.word": "y"}
        }


def tried(values, run, state=TrialState.COMPLETE, **params):
    return create_trial(
        values=values,
        state=state,
        params=params,
        distributions={key: IntDistribution(0, 9) for key in params},
        user_attrs={} if run is None else {trials.RUN: run},
    )


class TestTables:
    @pytest.fixture
    def study(self):
        found = optuna.create_study(directions=["minimize"] * 2)
        for trial in (
            tried([2.0, 2.0], 0, p=0),
            tried([1.0, 3.0], 1, p=1),
            tried([3.0, 1.0], 2, p=2),
            tried([2.0, 3.0], 3, p=3),
            tried(None, 4, TrialState.FAIL, p=4),
            tried([2.0, 1.5], 5, p=5),
            tried([0.0, 0.0], None, p=6),
            tried([1.0, 3.0], 6, p=7),
        ):
            found.add_trial(trial)
        return found

    def test_the_front_holds_what_nothing_beats(self, study):
        assert [trial.user_attrs["run"] for trial in trials.front(study)] == [1, 2, 5, 6]

    def test_both_tables_are_written(self, study, tmp_path):
        trials.write(tmp_path, study, ["p", "q"], ["far", "dear"])
        every = pd.read_csv(tmp_path / "trials.csv")
        assert list(every) == ["run", "state", "p", "q", "far", "dear"]
        assert list(every["run"]) == [0, 1, 2, 3, 4, 5, 6]
        assert list(every["state"]) == [*["finished"] * 4, "failed", *["finished"] * 2]
        assert list(every["far"].fillna(-1)) == [2, 1, 3, 2, -1, 2, 1]
        assert (tmp_path / "pareto.csv").read_text() == (
            "run,p,q,far,dear\n1,1,,1.0,3.0\n6,7,,1.0,3.0\n5,5,,2.0,1.5\n2,2,,3.0,1.0\n"
        )

    def test_what_came_of_it_is_said(self, study):
        text = trials.told(study, ["far", "dear"], first=True)
        assert "7 runs, 1 failed; 4 on the Pareto front of far, dear." in text
        assert "Run 0, the configuration as it stood, is beaten by 5." in text
        assert "Run 0" not in trials.told(study, ["far", "dear"], first=False)


@dataclass
class Landscape:
    """A launcher whose runs are a function of their settings; breaks down before some runs."""

    breaks: tuple[int, ...] = ()
    fails: tuple[int, ...] = ()
    launched: list = field(default_factory=list)

    def launch(self, batch, first):
        """Return the distance from two points for each run."""
        returns = []
        for number, overrides in enumerate(batch, start=first):
            if number in self.breaks:
                raise KeyboardInterrupt
            self.launched.append((number, overrides))
            held = dict(override.split("=") for override in overrides)
            effort, interval = float(held["strategy.effort"]), int(held["strategy.interval"])
            ended = JobReturn(status=JobStatus.COMPLETED)
            ended.return_value = [abs(effort - 0.2) + interval, abs(effort - 0.8) + interval]
            if number in self.fails:
                ended.status, ended.return_value = JobStatus.FAILED, ValueError("no luck")
            returns.append(ended)
        return returns


SIDE_BY_SIDE = ("launcher=joblib", "hydra.launcher.n_jobs=2")
SPACE = {"strategy.effort": "interval(0.1,1)", "strategy.interval": "range(1,9)"}


@pytest.fixture
def search(tmp_path):
    """Return what makes a search of the landscape in a folder, with some values changed."""

    def made(launcher, name="sweep", *overrides, **changed):
        place = f"hydra.sweep.dir={tmp_path / name}"
        whole = ["sweep=optuna", "hydra.job.name=withdraw", place, *overrides]
        cfg = compose("config", overrides=whole, return_hydra_config=True)
        values = {
            "n_trials": 7,
            "seed": 0,
            "sampler": optuna.samplers.TPESampler,
            "objectives": {"far": ["a"], "dear": ["b"]},
            "keep_going": True,
            "params": SPACE,
        }
        loader = GlobalHydra.instance().config_loader()
        return Search(cfg, loader, launcher, **{**values, **changed})

    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        yield made


class TestSearch:
    def test_the_first_run_is_the_configuration_as_it_stands(self, search, capsys, tmp_path):
        launcher = Landscape()
        search(launcher, n_trials=2).carry_out(["strategy.interval=range(1,4)", "seed=3"])
        assert [number for number, _ in launcher.launched] == [0, 1]
        assert launcher.launched[0][1] == ["seed=3", "strategy.effort=0.5", "strategy.interval=2"]
        assert "2 runs, 0 failed" in capsys.readouterr().out
        assert (tmp_path / "sweep/multirun.yaml").exists()

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "sampler",
        [
            partial(optuna.samplers.TPESampler, n_startup_trials=3),
            partial(optuna.samplers.NSGAIISampler, population_size=3),
        ],
    )
    def test_a_search_that_was_killed_goes_on_to_the_same_end(self, search, tmp_path, sampler):
        whole = Landscape()
        search(whole, "whole", sampler=sampler).carry_out([])
        assert [number for number, _ in whole.launched] == list(range(7))
        first, second = Landscape(breaks=(5,)), Landscape()
        with pytest.raises(KeyboardInterrupt):
            search(first, "cut", sampler=sampler).carry_out([])
        search(second, "cut", sampler=sampler).carry_out(["resume=true"])
        assert [number for number, _ in second.launched] == [5, 6]
        assert all(overrides[0] == "resume=true" for _, overrides in second.launched)
        for name in ("trials.csv", "pareto.csv"):
            cut, expected = (tmp_path / folder / name for folder in ("cut", "whole"))
            assert cut.read_bytes() == expected.read_bytes()
        third, more = Landscape(), Landscape()
        search(third, "cut", sampler=sampler).carry_out(["resume=true"])
        assert third.launched == []
        search(more, "cut", sampler=sampler, n_trials=8).carry_out(["resume=true"])
        assert [number for number, _ in more.launched] == [7]

    def test_without_resume_it_begins_anew(self, search):
        for _ in range(2):
            launcher = Landscape()
            search(launcher, n_trials=2).carry_out([])
            assert [number for number, _ in launcher.launched] == [0, 1]

    def test_another_seed_proposes_otherwise(self, search, tmp_path):
        for seed in (0, 1):
            search(Landscape(), str(seed), n_trials=3, seed=seed).carry_out([])
        one, other = (pd.read_csv(tmp_path / seed / "trials.csv") for seed in "01")
        assert one["strategy.effort"][0] == other["strategy.effort"][0] == 0.5
        assert set(one["strategy.effort"][1:]).isdisjoint(other["strategy.effort"][1:])

    def test_nothing_is_run_twice_and_an_exhausted_space_ends_it(self, search, tmp_path):
        launcher = Landscape()
        few = ["strategy.effort=0.2,0.8", "strategy.interval=1,2"]
        search(launcher).carry_out(few)
        settings = [tuple(overrides) for _, overrides in launcher.launched]
        assert len(settings) == len(set(settings)) == 4
        study = optuna.load_study(
            study_name=None, storage=f"sqlite:///{tmp_path / 'sweep/study.db'}"
        )
        assert len(study.trials) >= 4 + REPEATS
        assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}

    def test_as_many_at_a_time_as_the_launcher_takes(self, search):
        batches = []

        class Wide(Landscape):
            def launch(self, batch, first):
                batches.append((first, len(batch)))
                return super().launch(batch, first)

        search(Wide(), "sweep", *SIDE_BY_SIDE, n_trials=5).carry_out(["launcher=joblib"])
        assert batches == [(0, 2), (2, 2), (4, 1)]

    def test_a_batch_that_was_cut_is_carried_out_again(self, search):
        first, second = Landscape(breaks=(3,)), Landscape()
        with pytest.raises(KeyboardInterrupt):
            search(first, "sweep", *SIDE_BY_SIDE, n_trials=5).carry_out(["launcher=joblib"])
        again = ["launcher=joblib", "resume=true"]
        search(second, "sweep", *SIDE_BY_SIDE, n_trials=5).carry_out(again)
        assert [number for number, _ in first.launched] == [0, 1, 2]
        assert [number for number, _ in second.launched] == [2, 3, 4]
        assert second.launched[0][1][-2:] == first.launched[2][1][-2:]

    def test_failures_are_noted_and_it_goes_on(self, search, tmp_path, caplog):
        search(Landscape(fails=(1, 2)), n_trials=4).carry_out([])
        states = list(pd.read_csv(tmp_path / "sweep/trials.csv")["state"])
        assert states == ["finished", "failed", "failed", "finished"]
        assert "Run 1 failed: no luck" in caplog.text

    def test_or_the_first_one_ends_it(self, search, tmp_path):
        launcher = Landscape(fails=(1,))
        with pytest.raises(ValueError, match="no luck"):
            search(launcher, keep_going=False).carry_out([])
        assert [number for number, _ in launcher.launched] == [0, 1]

    def test_no_number_is_a_failure(self, search, tmp_path):
        class Empty(Landscape):
            def launch(self, batch, first):
                (ended,) = super().launch(batch, first)
                ended.return_value = [1.0, math.nan] if first == 1 else ended.return_value
                return [ended]

        search(Empty(), n_trials=3, keep_going=False).carry_out([])
        states = list(pd.read_csv(tmp_path / "sweep/trials.csv")["state"])
        assert states == ["finished", "failed", "finished"]

    def test_if_nothing_works_it_ends(self, search, capsys):
        launcher = Landscape(fails=tuple(range(7)))
        with pytest.raises(SystemExit):
            search(launcher).carry_out([])
        assert len(launcher.launched) == HOPELESS
        assert f"first {HOPELESS} runs all failed" in capsys.readouterr().err

    def test_a_command_without_numbers_is_refused(self, search, capsys):
        launcher = Landscape()
        with pytest.raises(SystemExit):
            search(launcher, "sweep", "hydra.job.name=compare").carry_out([])
        assert launcher.launched == []
        assert "Only fedunlearn withdraw" in capsys.readouterr().err


class TestPreset:
    def prepared(self, *overrides):
        with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
            tuning.prepare(compose("config", list(overrides), return_hydra_config=True))

    def test_optuna_must_be_there_where_it_is_asked_for(self, monkeypatch):
        monkeypatch.setattr(tuning, "find_spec", lambda name: None)
        self.prepared("sweep=federaser")
        with pytest.raises(Refused, match=r"needs Optuna: pip install 'fedunlearn\[tune\]'"):
            self.prepared("sweep=optuna")

    @pytest.mark.parametrize(
        ("override", "sentence"),
        [
            ("hydra.sweeper.n_trials=0", "n_trials must be a whole number of at least 1"),
            ("hydra.sweeper.seed=-1", "seed must be a whole number of at least 0"),
            ("hydra.sweeper.objectives=null", "objectives must name"),
            ("hydra.sweeper.objectives.bytes=[]", "objectives.bytes must list columns"),
        ],
    )
    def test_its_values_are_checked(self, override, sentence):
        with pytest.raises(Refused, match=sentence):
            self.prepared("sweep=optuna", override)

    @pytest.mark.parametrize(
        "overrides",
        [
            ["hydra/sweeper=optuna", "sweep=pga"],
            [
                *("sweep=optuna", "hydra.sweeper.sampler._target_=optuna.samplers.NSGAIISampler"),
                *("~hydra.sweeper.sampler.multivariate", "+hydra.sweeper.objectives.work=[a]"),
            ],
        ],
        ids=["another strategy's values", "another sampler"],
    )
    def test_what_the_docs_say_can_be_asked_for(self, overrides):
        with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
            sweeper = compose("config", overrides, return_hydra_config=True).hydra.sweeper
        assert sweeper._target_ == tuning.SWEEPER
        assert instantiate(sweeper.sampler)(seed=1)
        assert len(sweeper.params) > 1
        assert "forgetting" in sweeper.objectives

    @pytest.mark.parametrize(
        ("argument", "sentence"),
        [
            ("strategy.effort=interval(0,1)", "strategy.effort must be a number above 0"),
            ("strategy.effort=interval(0.5,2)", "strategy.effort must be a number above 0"),
        ],
    )
    def test_the_ends_of_an_interval_are_checked_before_the_first_run(
        self, monkeypatch, capsys, tmp_path, argument, sentence
    ):
        command = ["withdraw", "-m", "sweep=optuna", argument, f"hydra.sweep.dir={tmp_path}"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit):
            withdraw.main()
        assert sentence in capsys.readouterr().err
        assert not any(tmp_path.iterdir())


SMALL = [
    *("model=mlp", "training.rounds=4", "training.work.epochs=1", "references=1"),
    *("figures=false", "checkpoint=0"),
]
OPTUNA = ["sweep=optuna", "hydra.sweeper.n_trials=4", "strategy.interval=1,2"]


def command(log, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "fedunlearn", "withdraw", *arguments],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def killed_once(log, folder, run, *sweep):
    """Begin a sweep in ``folder``, kill it while ``run`` is at work, and let it go on."""
    process = command(log, *sweep, f"hydra.sweep.dir={folder}")
    deadline = time.monotonic() + 300
    while not (folder / run / "checkpoint").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in finished(folder)}
    assert command(log, f"run={folder}").wait() == 0
    return before


def finished(folder):
    return [
        path.parent / "metrics.csv"
        for path in folder.rglob("manifest.json")
        if '"status": "finished"' in path.read_text()
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        OPTUNA,
        [*OPTUNA, "launcher=joblib"],
        ["strategy=fedaccum", "seed=0,1,2", "launcher=joblib", "hydra.launcher.n_jobs=2"],
    ],
    ids=["optuna", "optuna side by side", "grid side by side"],
)
def test_a_sweep_that_was_killed_does_only_what_is_left(tmp_path, settings):
    sweep = ["-m", *settings, *SMALL]
    with (tmp_path / "log").open("w") as log:
        before = killed_once(log, tmp_path / "cut", "2", *sweep)
        assert command(log, *sweep, f"hydra.sweep.dir={tmp_path / 'whole'}").wait() == 0
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert {path.stat().st_mtime_ns for path in before} == set(before.values())
    tables = ["trials.csv", "pareto.csv"] if "sweep=optuna" in settings else []
    runs = [path.relative_to(whole).as_posix() for path in whole.rglob("metrics.csv")]
    assert len(runs) == (4 if tables else 3)
    for name in [*tables, *runs]:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    rows = pd.read_csv(cut / "index.csv")
    assert set(rows["run"]) == set(range(len(runs)))
    if tables:
        front, shown = pd.read_csv(cut / "pareto.csv"), rows[rows["strategy"] == "federaser"]
        best = shown.set_index("run").loc[front["run"]]
        assert list(front["forgetting"]) == list(best["forget_accuracy_gap"].abs())
        assert list(front["utility"]) == list(best["test_accuracy_gap"].abs())
        assert list(front["bytes"]) == list(best["bytes_down"] + best["bytes_up"])
