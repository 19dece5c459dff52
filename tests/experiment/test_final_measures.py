"""What is measured only at the ends of serving a request: when, next to what, and where it goes."""

import json
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from fedunlearn.evaluators import Distance, LayerSimilarity, PerClient, Relearning, Utility
from fedunlearn.experiment import Evaluation
from fedunlearn.local import LocalWork
from fedunlearn.results import load, who_pays
from fedunlearn.results.certificates.thresholds import gap_columns
from fedunlearn.unlearning import Plain, Request, Training
from strategies.finetune import FineTune
from strategies.none import Nothing
from tests.support.small_experiment import SMALL, carried_out

FINAL = (PerClient(), LayerSimilarity(records=32), Relearning(most=3, records=40))
WAVES = replace(
    SMALL,
    training=Training(rounds=3, work=LocalWork(epochs=1)),
    requests=(Request(frozenset({2}), 2), Request(frozenset({0}), 3)),
    strategies={"none": Nothing(), "finetune": FineTune(rounds=2)},
    recovery=Plain(rounds=2),
    evaluation=Evaluation((Utility(), Distance()), final=FINAL),
)
WHEN = ["strategy", "request", "phase", "round"]


@dataclass(frozen=True)
class Lengths:
    """Says how far the model, the original and the retrained one are from the first model."""

    def __call__(self, model, retrained):
        def length(shown):
            return float((shown.weights - shown.initial).norm())

        known = {"original": model.original, "retrained": retrained}
        return {"own": length(model)} | {n: length(s) for n, s in known.items() if s is not None}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waves")
    carried_out(WAVES, folder)
    return load(folder)


@pytest.fixture(scope="module")
def lengths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lengths")
    carried_out(replace(WAVES, evaluation=Evaluation((Utility(),), final=(Lengths(),))), folder)
    metrics = load(folder).metrics
    names = ["own", "original", "retrained"]
    return metrics.pivot_table(index=WHEN, columns="metric", values="value")[names].dropna(
        how="all"
    )


def moments(run, metric, strategy):
    rows = run.metrics[(run.metrics.metric == metric) & (run.metrics.strategy == strategy)]
    return list(zip(rows.request, rows.phase, rows["round"], strict=True))


def test_it_is_before_the_request_and_at_the_end_of_each_phase(run):
    ends = [(1, "unlearn", 0), (1, "unlearn", 2), (1, "recover", 2)]
    ends += [(2, "unlearn", 0), (2, "unlearn", 2), (2, "recover", 2)]
    assert moments(run, "relearn_steps", "finetune") == ends
    assert moments(run, "retained_accuracy/1", "finetune") == ends
    assert moments(run, "forget_cka/1", "finetune") == ends
    # a strategy that does nothing is before and after at once
    assert moments(run, "relearn_steps", "none") == [
        *[(1, "unlearn", 0), (1, "recover", 2)],
        *[(2, "unlearn", 0), (2, "recover", 2)],
    ]
    assert moments(run, "relearn_steps", "shared") == []


def test_nothing_is_told_twice(run):
    assert not run.metrics.duplicated(["seed", *WHEN, "metric"]).any()


def test_single_clients_and_layers_are_in_the_metrics_and_not_in_the_summary(run):
    names = set(run.metrics.metric)
    assert {"retained_divergence/3", "test_cka/3", "retained_accuracy/1"} <= names
    assert not [name for name in run.summary if "/" in name]
    assert {"relearn_steps", "relearn_steps_gap", "forget_cka", "retained_agreement"} <= set(
        run.summary
    )
    assert "forget_cka_gap" not in run.summary  # it compares with retraining already
    found = {name for name in run.summary if name.endswith("_gap")}
    compared = {"forget_cka", "test_cka", "anamnesis_index", "normalised_distance"}
    compared |= {"retained_agreement", "retained_divergence"}
    assert compared <= set(run.summary)
    assert not found & {f"{name}_gap" for name in compared}
    assert found <= set(gap_columns())
    assert not set(gap_columns()) & {f"{name}_gap" for name in compared}
    for request, gone in ((1, {2}), (2, {0, 2})):
        shown = {
            int(name.split("/")[1])
            for name in run.metrics[run.metrics.request == request].metric
            if name.startswith("retained_accuracy/")
        }
        assert shown == set(range(4)) - gone


def test_the_summary_has_the_last_values(run):
    for row in run.summary.itertuples():
        rows = run.metrics[
            (run.metrics.strategy == row.strategy)
            & (run.metrics.request == row.request)
            & (run.metrics.phase == "recover")
            & (run.metrics.metric == "relearn_steps")
        ]
        assert rows.value.tolist() == [row.relearn_steps]


def test_the_original_is_the_model_before_this_request_of_this_strategy(lengths):
    before = lengths.xs(("unlearn", 0), level=("phase", "round"))
    for (name, request, *_), row in lengths.iterrows():
        assert row.original == before.loc[(name, request), "own"]
    assert before.own.xs(1, level="request").nunique() == 1  # one training for all
    assert before.own.xs(2, level="request").nunique() == 3  # then each goes its own way


def test_the_reference_is_that_of_the_same_stage(lengths):
    reference = lengths.loc["retrain"]
    assert reference.retrained.isna().all()
    for name in ("none", "finetune"):
        for (request, phase, _), row in lengths.loc[name].iterrows():
            assert row.retrained == reference.loc[(request, phase)].own.iloc[-1]


def test_the_original_is_as_far_as_itself(run):
    rows = run.metrics[(run.metrics.metric == "normalised_distance") & (run.metrics["round"] == 0)]
    assert len(rows) == 2 * 2
    assert (rows.value == 1).all()


def test_who_pays_is_told_by_the_files(run):
    table = who_pays(run.metrics, run.summary, run.clients)
    assert len(table) == 3 * (3 + 2)
    means = table.groupby(["request", "strategy"]).after.mean()
    for row in run.summary.itertuples():
        assert means[row.request, row.strategy] == pytest.approx(row.retained_accuracy)
    assert table.similarity.between(0, 1).all()


def test_measuring_at_the_ends_changes_nothing_else(run, tmp_path):
    carried_out(replace(WAVES, evaluation=Evaluation((Utility(), Distance()))), tmp_path)
    plain = load(tmp_path)
    both = [each.metrics.set_index([*WHEN, "metric"]).value for each in (plain, run)]
    pd.testing.assert_series_equal(both[0], both[1][both[0].index])
    manifests = [json.loads((r.folder / "manifest.json").read_text()) for r in (plain, run)]
    assert manifests[0]["split_sha256"] == manifests[1]["split_sha256"]


def test_a_request_that_names_nobody_is_served(tmp_path):
    nobody = replace(WAVES, requests=(Request(frozenset(), 2),), strategies={"none": Nothing()})
    carried_out(nobody, tmp_path)
    run = load(tmp_path)
    assert moments(run, "retained_agreement", "none") == [(1, "unlearn", 0)]
    assert moments(run, "relearn_steps", "none") == []
    assert who_pays(run.metrics, run.summary, run.clients).similarity.isna().all()
