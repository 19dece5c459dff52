"""Several retrained models a seed: what they share, what differs, and that nothing else changes."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from fedunlearn.attacks.training_bank import Member, train_bank
from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.evaluators import Distance, Utility
from fedunlearn.experiment import Evaluation, run, training_seed
from fedunlearn.experiment.estimate import estimate, estimated_costs
from fedunlearn.experiment.reference_seeds import first_model
from fedunlearn.history import InMemory, OnDisk
from fedunlearn.results import (
    VERDICT_COLUMNS,
    judge,
    load,
)
from fedunlearn.unlearning import NoRecovery as NoRecovery
from fedunlearn.unlearning import Request, ScopedClients, Training
from strategies.fedaccum import FedAccum
from strategies.none import Nothing
from strategies.retrain import Retrain
from tests.support.folder_contents import contents
from tests.support.killed import WAVES
from tests.support.paces import PACE
from tests.support.slow import slowly

BAND = replace(
    WAVES,
    references=3,
    strategies={"none": Nothing(), "fedaccum": FedAccum(), "retrain": Retrain()},
    evaluation=Evaluation((*WAVES.evaluation.measures, Distance())),
    store=InMemory(),
)
REFERENCES = ["retrain", "retrain-2", "retrain-3"]


def carried_out(experiment, folder, seeds=(0, 1), *, resume=False):
    return run(experiment, seeds, folder, {}, Console(quiet=True), resume=resume)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("band")
    summary = carried_out(BAND, folder)
    return folder, summary


def test_seeds_are_the_run_s_own_but_for_further_references():
    for name in ("shared", "none", "retrain", "federaser(interval=2)"):
        assert training_seed(5, name) == 5
    drawn = {training_seed(seed, f"retrain-{n}") for seed in range(50) for n in (2, 3, 4)}
    assert len(drawn) == 150
    assert not drawn & set(range(1000))
    assert max(drawn) < 2**32
    here = build_federation(BAND.scenario(1))
    assert first_model(here, "none") is here.initial
    other = here.network.initial(training_seed(1, "retrain-2"))
    assert torch.equal(first_model(here, "retrain-2"), other)
    assert not torch.allclose(other, here.initial, atol=1e-2)


def test_references_come_first_and_nothing_is_run_twice(finished):
    folder, summary = finished
    order = [*REFERENCES, "none", "fedaccum"]
    assert summary.strategy.tolist() == [name for name in order for _ in (1, 2)] * 2
    ledger = load(folder).ledger
    counted = ledger[(ledger.request == 1) & (ledger.phase == "unlearn")]
    asked = counted.groupby(["seed", "strategy"])["round"].nunique()
    assert asked[0].to_dict() == dict.fromkeys(REFERENCES, 4)


def test_a_further_reference_is_an_ordinary_training_with_another_seed_on_the_same_data(tmp_path):
    alone = replace(
        BAND, requests=(Request(frozenset({1}), 4),), recovery=NoRecovery(), strategies={}
    )
    carried_out(alone, tmp_path, seeds=(0,))
    scenario = alone.scenario(0)
    here = build_federation(scenario)
    seed = training_seed(0, "retrain-2")
    member = Member(here.network.initial(seed), seed, frozenset({0, 2, 3, 4}))
    (expected,) = train_bank([member], alone.engine.trainer(scenario), alone.training, 4)
    saved = load_file(tmp_path / "models" / "seed0-retrain-2-request1.safetensors")
    torch.testing.assert_close(here.network.layout.flatten(saved), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_more_references_change_nothing_but_gaps(finished, tmp_path):
    carried_out(replace(BAND, references=1), tmp_path)
    one, three = load(tmp_path), load(finished[0])
    for name in ("metrics", "summary", "ledger"):
        few, many = (
            getattr(run, name).pipe(lambda rows: rows.drop(columns="seconds", errors="ignore"))
            for run in (one, three)
        )
        many = many[~many.strategy.isin(REFERENCES[1:])]
        many = many[[column for column in many if not column.endswith("_gap")]]
        few = few[list(many)]
        pd.testing.assert_frame_equal(few, many.reset_index(drop=True))


def test_gaps_are_taken_from_the_mean_of_the_seed_s_references(finished):
    folder, returned = finished
    summary = load(folder).summary
    assert summary.test_accuracy_gap.tolist() == returned.test_accuracy_gap.tolist()
    for (_, _), rows in summary.groupby(["seed", "request"]):
        values = rows.set_index("strategy")
        for metric in ("test_accuracy", "forget_loss", "attack_success_rate"):
            gap, own = values[f"{metric}_gap"], values[metric]
            assert gap["fedaccum"] == pytest.approx(own["fedaccum"] - own[REFERENCES].mean())
            others = (own["retrain"] + own["retrain-3"]) / 2
            assert gap["retrain-2"] == pytest.approx(own["retrain-2"] - others)
            assert gap[REFERENCES].sum() == pytest.approx(0, abs=1e-12)
    assert (summary.forget_loss.groupby(summary.seed).nunique() == 10).all()


def test_distances_are_those_to_the_first_reference(finished):
    summary = load(finished[0]).summary
    assert not [name for name in summary if name.endswith(("distance_gap", "divergence_gap"))]
    first = summary.strategy == "retrain"
    assert summary.test_divergence[first].isna().all()
    assert (summary.test_divergence[~first] > 0).all()


@pytest.fixture(scope="module", params=[OnDisk(), *slowly(InMemory())], ids=str)
def undisturbed(request, tmp_path_factory):
    """An experiment, and the folder of a run of it that was not killed."""
    experiment = replace(BAND, store=request.param, strategies={"fedaccum": FedAccum()})
    folder = tmp_path_factory.mktemp("undisturbed")
    carried_out(experiment, folder, seeds=(0,))
    return experiment, folder


@pytest.mark.parametrize("calls", [33, *slowly(23, 45)])
def test_a_run_killed_in_a_further_reference_goes_on(undisturbed, calls, tmp_path, monkeypatch):
    class Died(BaseException):
        pass

    experiment, whole = undisturbed
    real, left, where = ScopedClients.train, [calls], []

    def dying(self, *args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            where.append(self.seed)
            raise Died
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ScopedClients, "train", dying)
        with pytest.raises(Died):
            carried_out(experiment, tmp_path / "killed", seeds=(0,))
    assert where[0] in {training_seed(0, name) for name in REFERENCES[1:]}
    carried_out(experiment, tmp_path / "killed", seeds=(0,), resume=True)
    one, other = contents(tmp_path / "killed"), contents(whole)
    assert sorted(one) == sorted(other)
    assert [name for name in other if one[name] != other[name]] == []


@pytest.mark.slow
def test_references_are_shared_and_read_back_as_they_were(tmp_path, monkeypatch):
    shared = replace(BAND, cache=tmp_path / "cache", strategies={"none": Nothing()})
    carried_out(shared, tmp_path / "one", seeds=(0,))
    asked, real = [], ScopedClients.train

    def train(self, *args, **kwargs):
        asked.append(self.ledger.moment.phase)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(ScopedClients, "train", train)
    carried_out(shared, tmp_path / "two", seeds=(0,))
    # Only `none` is carried out again: two recoveries of two rounds, and three rounds of training.
    assert (asked.count("recover"), asked.count("train"), len(asked)) == (4, 3, 7)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    kinds = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "cache").glob("[a-z]*"))
    assert kinds == ["reference", "reference-2", "reference-3", "training"]
    asked.clear()
    carried_out(replace(shared, references=2), tmp_path / "fewer", seeds=(0,))
    assert len(asked) == 7


def test_the_audit_finds_nothing_where_the_last_branch_began_with_another_model(tmp_path):
    experiment = replace(BAND, strategies={}, store=OnDisk())
    carried_out(experiment, tmp_path, seeds=(0,))
    for name in ("retrain", "retrain-3"):
        path = tmp_path / "certificates" / f"seed0-{name}-request1.json"
        made = json.loads(path.read_text())
        assert made["audit"]["findings"] == []
        metrics = {metric["metric"]: metric for metric in made["metrics"]}
        gaps = load(tmp_path).summary.set_index(["strategy", "request"])["forget_loss_gap"]
        assert metrics["forget_loss"]["gap"] == pytest.approx(gaps[name, 1])
        values = load(tmp_path).summary.query("request == 1").forget_loss
        assert metrics["forget_loss"]["spread"] == pytest.approx(values.std())
        assert metrics["forget_loss"]["seeds"] == 1
        assert metrics["test_divergence"]["retrained"] is None
        assert metrics["test_divergence"]["spread"] is None


def test_an_estimate_counts_every_reference(finished):
    costs = estimate(BAND, (0,), PACE)
    served = costs[costs.phase == "unlearn"].set_index(["strategy", "request"])
    spent = load(finished[0]).summary.query("seed == 0").set_index(["strategy", "request"])
    for column in ("bytes_down", "samples", "client_epochs"):
        assert served[column].to_dict() == pytest.approx(spent[column].to_dict())
    console = Console(width=100)
    with console.capture() as capture:
        console.print(estimated_costs(costs))
    lines = [line.split("  ")[0] for line in capture.get().splitlines()]
    again = lines.index("retrain again, 2x")
    assert lines[again - 1] == "► retrain"
    assert lines[again + 1] == "none"
    cells = [line.split()[-3] for line in capture.get().splitlines()[again - 1 : again + 1]]
    further = spent.client_epochs[["retrain-2", "retrain-3"]].sum()
    assert cells == [f"{spent.client_epochs['retrain'].sum():.0f}", f"{further:.0f}"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"references": 0}, "references must be a whole number of at least 1, not 0"),
        ({"references": 1.5}, "references must be a whole number"),
        ({"strategies": {"retrain-2": Nothing()}}, "call the strategy something else"),
        ({"strategies": {"retrain-9": Retrain()}}, "call the strategy something else"),
        ({"split": -1}, None),
    ],
)
def test_what_cannot_be_is_refused(change, sentence, tmp_path):
    if sentence is None:
        with pytest.raises(Refused, match="split must be a whole number of at least 0"):
            carried_out(replace(BAND, **change), tmp_path / "never")
        return
    with pytest.raises(Refused, match=sentence):
        replace(BAND, **change)


TINY = replace(
    BAND,
    references=1,
    strategies={},
    split=7,
    training=Training(rounds=2, cohort=0.4, work=BAND.training.work),
    requests=(Request(frozenset({1}), 2),),
    evaluation=Evaluation((Utility(),)),
)


def test_a_run_ends_with_its_verdicts(finished, tmp_path):
    assert (finished[0] / "verdicts.csv").read_text() == ",".join(
        VERDICT_COLUMNS
    ) + "\n"  # 4^2 < 20
    carried_out(replace(TINY, references=4, strategies={"none": Nothing()}), tmp_path)
    written = pd.read_csv(tmp_path / "verdicts.csv")
    expected = judge(load(tmp_path).summary)
    pd.testing.assert_frame_equal(written, expected)
    assert written.strategy.unique().tolist() == ["none"]
    assert len(written) == 5


class TestSplit:
    def test_all_seeds_share_the_data_and_differ_in_training(self, tmp_path):
        summary = carried_out(TINY, tmp_path)
        manifest = load(tmp_path).manifest
        assert len(set(manifest["split_sha256"].values())) == 1
        assert len(set(manifest["cohorts_sha256"].values())) == 2
        assert summary.test_loss.nunique() == 2
        clients = load(tmp_path).clients
        counts = [rows.drop(columns="seed").to_numpy() for _, rows in clients.groupby("seed")]
        assert (counts[0] == counts[1]).all()

    def test_it_is_the_seed_of_the_data_and_of_nothing_else(self):
        fixed = build_federation(replace(BAND, split=7).scenario(0))
        ordinary = build_federation(BAND.scenario(7))
        for one, other in zip(fixed.train, ordinary.train, strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.labels, other.labels)
        for one, other in zip(fixed.heldout, ordinary.heldout, strict=True):
            assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(fixed.proxy, ordinary.proxy)
        assert torch.equal(fixed.initial, build_federation(BAND.scenario(0)).initial)
        assert not torch.equal(fixed.initial, ordinary.initial)
