"""`fedunlearn tune`: what is tried, what is chosen, and that nobody is judged by its own seeds."""

import os
import subprocess
import sys
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir

from fedunlearn.checks import Refused
from fedunlearn.results.columns import COST_COLUMNS, GAP_SUFFIX
from fedunlearn.simulations import (
    compare,
    configured,
    guard,
    trial_settings,
    tune,
    tune_planner,
    tuned,
    variants,
)

SEEDS = [100, 101]


@pytest.fixture
def conf():
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        yield


@pytest.fixture
def own_sweep(tmp_path, monkeypatch):
    """Write a sweep of one's own where one stands."""
    monkeypatch.chdir(tmp_path)

    def write(name, params):
        path = tmp_path / "conf/sweep" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(params if isinstance(params, str) else yaml.safe_dump(params))

    return write


def composed(*overrides):
    return compose("config", overrides=["references=2", *overrides])


def drawn(cfg):
    draws = partial(trial_settings.drawn, seeds=SEEDS)
    space = tune.Space.of(tune.untuned(cfg, SEEDS), SEEDS, draws, cfg.trials)
    return space.trials(tune.strategies(cfg)), space.left_out


def test_every_combination_comes_once_in_an_order_of_seeds_and_name():
    every = list(trial_settings.drawn("federaser", SEEDS))
    assert len({str(one) for one in every}) == len(every) == 4 * 3
    assert every == list(trial_settings.drawn("federaser", SEEDS))
    others = list(trial_settings.drawn("federaser", [7]))
    assert others != every
    assert sorted(map(str, others)) == sorted(map(str, every))


def test_only_a_strategy_s_own_fields_are_varied():
    assert set(trial_settings.listed("fedosd")) == {"rounds", "lr"}
    assert trial_settings.listed("exact_rollback") == {}
    assert trial_settings.listed("retrain") == {}
    assert trial_settings.listed("rum")["rescore"] == [False, True]
    assert trial_settings.listed("weight_negation")["layers"][-1] == ["0.weight", "2.weight"]


def test_a_sweep_of_ones_own_is_found(own_sweep):
    values = {"strategy.x": "range(1,4)", "strategy.y": 5, "strategy.z": "choice(a,b)"}
    own_sweep("mine", {"hydra": {"sweeper": {"params": values}}})
    assert trial_settings.listed("mine") == {"x": [1, 2, 3], "y": [5], "z": ["a", "b"]}


@pytest.mark.parametrize(
    ("sweep", "sentence"),
    [
        ({"hydra": {"sweeper": {"params": {"strategy.x": "interval(0,1)"}}}}, "x is an interval"),
        ({"hydra": {"sweeper": {"params": {"strategy.x": "choice(1"}}}}, "x cannot be read"),
        ({"hydra": {"sweeper": {}}}, "has no hydra.sweeper.params"),
        ("- 1\n- 2\n", "has no hydra.sweeper.params"),
    ],
)
def test_a_sweep_that_lists_nothing_is_refused(own_sweep, sweep, sentence):
    own_sweep("mine", sweep)
    with pytest.raises(Refused, match=sentence):
        trial_settings.listed("mine")


def test_all_get_as_many_trials_their_own_values_first(conf):
    names = "strategies=[federaser,seif,pga,exact_rollback]"
    trials, left_out = drawn(composed(names, "trials=4", "model=mlp"))
    assert left_out == []
    counts = pd.Series([trial.strategy for trial in trials.values()]).value_counts()
    assert counts.to_dict() == {
        **dict.fromkeys(["federaser", "seif", "pga"], 4),
        **dict.fromkeys(["none", "exact_rollback"], 1),
    }
    for label, trial in trials.items():
        plain = variants.declared(trial.strategy)
        assert (trial.number == 0) == (label == trial.strategy) == (not trial.fields)
        assert (trial.part == plain) == (trial.number == 0)
        again = variants.variant({trial.strategy: trial.fields}, {})[1] if trial.fields else plain
        assert again == trial.part
    experiment = configured.experiment(composed(names, "model=mlp"), {})
    assert experiment.references == 2


def test_what_is_drawn_does_not_depend_on_the_company(conf):
    alone, _ = drawn(composed("strategies=[seif]", "trials=4"))
    together, _ = drawn(composed("strategies=[pga,seif]", "trials=4"))
    fewer, _ = drawn(composed("strategies=[seif]", "trials=2"))
    mine = [label for label in together if label.startswith("seif")]
    assert [label for label in alone if label.startswith("seif")] == mine
    assert list(islice(mine, 2)) == [label for label in fewer if label.startswith("seif")]


def test_settings_that_the_model_does_not_have_are_left_out_and_told(conf):
    """The sweep of weight negation names layers of the convolutional net."""
    trials, left_out = drawn(composed("strategies=[weight_negation]", "trials=9", "model=mlp"))
    tried = [label for label in trials if label.startswith("weight")]
    listed = len(trial_settings.listed("weight_negation")["layers"])
    assert 0 < len(left_out) == listed - (len(tried) - 1)
    assert all(" is left out: " in sentence for sentence in left_out)


def test_retraining_is_what_others_are_measured_against(conf):
    assert "retrain" not in tune.strategies(composed("strategies=[retrain,pga]"))


def overlay(path, chosen, seeds=SEEDS):
    tuned.written(path, seeds, chosen)
    return f"tuned={path}"


def test_tuned_stand_beside_untuned(conf, tmp_path):
    chosen = {"puf": {"eta": 20}, "seif": {"destroy.0.std": 1.5, "cycles": 1}, "pga": {}}
    file = overlay(tmp_path / "tuned.yaml", chosen)
    found = compare.strategies(composed("strategies=[retrain,puf,seif,pga]", file), "")
    assert list(found) == [
        *("none", "retrain", "puf", "puf(eta=20)"),
        *("seif", "seif(std=1.5,cycles=1)", "pga"),
    ]
    assert found["seif(std=1.5,cycles=1)"].destroy[0].std == 1.5
    assert found["seif"].destroy[0].std != 1.5
    twice = compare.strategies(composed("strategies=[puf,{puf: {eta: 20}}]", file), "")
    assert list(twice) == ["none", "puf", "puf(eta=20)"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"seeds": [2, 100], "strategies": {}}, "seeds=2 is one on which .* was tuned"),
        ({"strategies": {}}, "does not list the seeds on which it was tuned"),
        ({"seeds": ["a"], "strategies": {}}, "does not list the seeds on which it was tuned"),
        ([1], "does not list the seeds on which it was tuned"),
        ({"seeds": [9]}, "does not say for each of strategies which fields differ"),
        ({"seeds": [9], "strategies": {"puf": 3}}, "does not say for each of strategies"),
        (
            {"seeds": [9], "strategies": {"puff": {}}},
            "puff, which does not exist; did you mean puf",
        ),
        ({"seeds": [9], "strategies": {"puf": {"etta": 1}}}, "etta, which does not exist"),
        ({"seeds": [9], "strategies": {"puf": {"eta.x": 1}}}, "eta.x, which does not exist"),
    ],
)
def test_an_overlay_that_cannot_be_is_refused(conf, tmp_path, content, sentence):
    path = tmp_path / "tuned.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(Refused, match=sentence):
        compare.strategies(composed("strategies=[puf]", f"tuned={path}"), "")


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ("{destroy.0.std: 0.5}", "seif(std=0.5)"),
        ("{destroy.0.std: 0.5, cycles: 3}", "seif(std=0.5,cycles=3)"),
    ],
)
def test_a_variant_s_field_may_lie_below_a_list(conf, fields, label):
    found = compare.strategies(composed(f"strategies=[{{seif: {fields}}}]"), "")
    assert found[label].destroy[0].std == 0.5
    assert len(found[label].destroy) == len(variants.declared("seif").destroy)


@pytest.mark.parametrize("path", ["destroy.0.stdd", "destroy.9.std", "destroy.x.std", "a.b"])
def test_a_path_that_leads_nowhere_is_refused(conf, path):
    with pytest.raises(Refused, match=f"sets {path}, which does not exist"):
        compare.strategies(composed(f"strategies=[{{seif: {{{path}: 1}}}}]"), "")


@pytest.mark.slow
def test_a_tuning_is_run_and_judged_on_other_seeds(tmp_path):
    small = ["model=mlp", "training.rounds=3", "training.work.epochs=1", "references=2"]

    def done(*words):
        ran = subprocess.run(
            [sys.executable, "-m", "fedunlearn", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    listed = "strategies=[finetune,ssd,retrain]"
    out = done("tune", listed, "trials=3", *small, "hydra.run.dir=tuning")
    assert "fedunlearn compare tuned=tuning/tuned.yaml" in out
    assert not (tmp_path / "tuning/figures").exists()
    trials = pd.read_csv(tmp_path / "tuning/trials.csv", keep_default_na=False)
    assert trials.groupby("strategy")["trial"].count().to_dict() == {
        "finetune": 3,
        "none": 1,
        "ssd": 3,
    }
    assert trials.groupby("strategy")["chosen"].sum().eq(1).all()
    usable = trials[~trials["broken"]]
    best = usable[usable["chosen"]].set_index("strategy")["distance"]
    assert (best == usable.groupby("strategy")["distance"].min()[best.index]).all()
    chosen = yaml.safe_load(Path(tmp_path / "tuning/tuned.yaml").read_text())
    assert chosen["seeds"] == SEEDS
    before = (tmp_path / "tuning/trials.csv").read_bytes()
    assert "Nearest to retraining" in done("tune", "run=tuning")
    assert (tmp_path / "tuning/trials.csv").read_bytes() == before
    done("compare", listed, *small, "seeds=[0,1]", "tuned=tuning/tuned.yaml", "hydra.run.dir=both")
    both = set(pd.read_csv(tmp_path / "both/answers.csv")["strategy"])
    changed = sum(bool(fields) for fields in chosen["strategies"].values())
    assert {"none", "finetune", "ssd"} <= both
    assert len(both) == 3 + 1 + changed  # and retraining again


class TestPlanner:
    """Tables that say which strategy of RUM serves which part."""

    def test_every_table_comes_once_in_an_order_of_the_seeds(self):
        every = [tuple(one["strategies"]) for one in tune_planner.tables("abc", 2, SEEDS)]
        assert len(set(every)) == len(every) == 3**2
        assert every == [tuple(one["strategies"]) for one in tune_planner.tables("abc", 2, SEEDS)]
        others = [tuple(one["strategies"]) for one in tune_planner.tables("abc", 2, [7])]
        assert sorted(others) == sorted(every)
        assert others != every

    def test_those_named_may_serve_and_rum_refuses_what_undoes_updates(self, conf):
        words = ["strategies=[none,federaser]", "strategy=rum", "strategy.score=loss", "trials=9"]
        cfg = composed(*words)
        names = tune_planner.candidates(cfg, words)
        assert names == ["none", "federaser"]
        assert tune_planner.candidates(cfg, ["trials=9"]) == list(tune_planner.CANDIDATES)
        experiment = tune_planner.untuned(cfg)
        space = tune.Space.of(
            experiment, SEEDS, lambda _: tune_planner.tables(names, 3, SEEDS), cfg.trials
        )
        trials = space.trials({"rum": tune_planner.compared(cfg)["rum"]})
        assert list(trials) == ["rum", "rum(strategies=none+none+none)"]
        assert len(space.left_out) == 2**3 - 1
        assert "works on what whole clients sent" in space.left_out[0]
        assert {trial.part.score for trial in trials.values()} == {"loss"}

    def test_the_highest_tow_is_chosen(self):
        gaps = {
            "none": (0.5, 0.0, 0.0),
            "rum": (0.1, -0.1, 0.0),
            "rum(a)": (0.0, 0.0, -0.08),
            "rum(b)": (0.0, 0.0, -0.2),
        }
        rows = [
            {
                **{"seed": seed, "request": 1, "strategy": name, "clients": "0", "probe": None},
                **dict.fromkeys(COST_COLUMNS, 10),
                **{
                    column: value
                    for metric, gap in zip(
                        ("forget_accuracy", "retained_accuracy", "test_accuracy"),
                        three,
                        strict=True,
                    )
                    for column, value in ((metric, 0.8 + gap), (f"{metric}{GAP_SUFFIX}", gap))
                },
            }
            for seed in SEEDS
            for name, three in {"retrain": (0, 0, 0), **gaps}.items()
        ]
        trial = partial(tune.Trial, fields={}, part=None)
        named = {
            name: trial("none" if name == "none" else "rum", number)
            for number, name in enumerate(gaps)
        }
        table = tune_planner.judge(pd.DataFrame(rows), named)
        distances = [0.5, 1 - 0.9 * 0.9, 0.08, 0.2]
        assert table["distance"].to_numpy() == pytest.approx(distances)
        assert table["chosen"].tolist() == [True, False, True, False]

    @pytest.mark.slow
    def test_a_planner_is_tuned_and_its_table_runs(self, tmp_path):
        small = ["model=mlp", "training.rounds=3", "training.work.epochs=1"]
        where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

        def done(*words):
            command = [sys.executable, "-m", "fedunlearn", *words]
            ran = subprocess.run(
                command, cwd=tmp_path, env=where, capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, ran.stderr
            return ran.stdout

        words = ["strategies=[none,finetune]", "strategy.score=loss", "trials=4"]
        out = done("tune-planner", *words, *small, "hydra.run.dir=planner")
        assert "Distance: 1 - ToW" in out
        trials = pd.read_csv(tmp_path / "planner/trials.csv", keep_default_na=False)
        assert trials["strategy"].tolist() == ["none", *["rum"] * 4]
        before = (tmp_path / "planner/trials.csv").read_bytes()
        done("tune-planner", "run=planner")
        assert (tmp_path / "planner/trials.csv").read_bytes() == before
        chosen = yaml.safe_load(Path(tmp_path / "planner/tuned.yaml").read_text())["strategies"]
        assert chosen["rum"]["score"] == "loss"
        done(
            *("compare", "strategies=[rum]", *small, "seeds=[0]", "references=1"),
            *("tuned=planner/tuned.yaml", "hydra.run.dir=both"),
        )
        both = pd.read_csv(tmp_path / "both/summary.csv")["strategy"].unique()
        assert any(name.startswith("rum(") for name in both)
