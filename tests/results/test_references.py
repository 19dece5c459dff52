"""Which retrained models each model is compared with, and how far it is from them."""

import math

import numpy as np
import pandas as pd
import pytest

from fedunlearn.results import (
    as_one_reference,
    further_references,
    gaps,
    goals_of,
    is_reference,
    mean_of_others,
    other_references,
    reference_name,
    reference_number,
    retrained_rows,
    unlearned_rows,
    with_gaps,
)

NAMES = ["none", "retrain", "retrain-2", "rapid_retrain", "retrain-3", "none", "retrain"]


def test_names_are_told_apart():
    names = ["retrain", "retrain-2", "retrain-13", "retrain-", "retrain-x", "rapid_retrain"]
    assert [reference_number(name) for name in names] == [1, 2, 13, 0, 0, 0]
    assert [is_reference(name) for name in names] == [True] * 3 + [False] * 3
    assert [reference_name(n) for n in (1, 2, 13)] == names[:3]


def test_a_strategy_is_compared_with_all_references_and_a_reference_with_the_others():
    assert other_references("none", NAMES) == ["retrain", "retrain-2", "retrain-3"]
    assert other_references("retrain-2", NAMES) == ["retrain", "retrain-3"]
    assert other_references("retrain", NAMES) == goals_of("retrain", NAMES)
    assert goals_of("rapid_retrain", NAMES) == other_references("rapid_retrain", NAMES)


def test_only_a_reference_that_is_alone_is_its_own_goal():
    assert other_references("retrain", ["retrain", "none"]) == []
    assert goals_of("retrain", ["retrain", "none"]) == ["retrain"]
    assert goals_of("none", ["none", "finetune"]) == []
    assert goals_of("retrain", ["none"]) == []


def test_names_of_references_become_one_and_only_numbered_ones_are_further_ones():
    names = ["retrain", "retrain-2", "retrain-fast", "rapid_retrain", "retrain-2b"]
    rows = pd.DataFrame({"strategy": names})
    assert further_references(rows).tolist() == [False, True, False, False, False]
    assert as_one_reference(rows["strategy"]).tolist() == ["retrain", "retrain", *names[2:]]
    assert retrained_rows(rows)["strategy"].tolist() == names[:2]
    assert unlearned_rows(rows)["strategy"].tolist() == names[2:]


def test_means_leave_out_the_row_s_own_model():
    models = [("x", 0, 9.0), ("retrain", 0, 1.0), ("retrain-2", 0, 3.0), ("retrain-3", 0, 8.0)]
    models += [("retrain", 1, 5.0), ("x", 1, 7.0), ("x", 2, 4.0)]
    columns = ["strategy", "seed", "value"]
    rows = pd.DataFrame(models, columns=columns, index=[7, 3, 5, 1, 0, 2, 9])
    found = mean_of_others(rows, ["seed"], "value")
    assert found.index.equals(rows.index)
    assert found.tolist()[:4] == [4.0, 5.5, 4.5, 2.0]
    assert math.isnan(found[0])  # alone under its seed
    assert found[2] == 5.0
    assert math.isnan(found[9])  # nobody retrained under its seed


@pytest.mark.parametrize("seed", range(3))
def test_gaps_and_means_of_others_agree(seed):
    values = np.random.default_rng(seed).normal(size=6)
    names = ["retrain", "a", "retrain-2", "b", "retrain-3", "c"]
    rows = [
        {"seed": 0, "strategy": name, "request": 1, "value": float(value)}
        for name, value in zip(names, values, strict=True)
    ]
    table = pd.DataFrame(rows)
    differences = table["value"] - mean_of_others(table, ["seed", "request"], "value")
    assert [row["value_gap"] for row in with_gaps(rows)] == pytest.approx(differences.tolist())


def test_a_mean_of_what_is_no_number_is_none():
    rows = pd.DataFrame({"strategy": ["x", "retrain", "retrain-2"], "seed": 0})
    found = mean_of_others(rows.assign(value=[1.0, 2.0, math.nan]), ["seed"], "value")
    assert np.isnan(found).tolist() == [True, True, False]


def test_gaps_follow_from_rows_alone():
    def row(strategy, value, seed=0, **others):
        costs = {"rounds": 3}
        return {"seed": seed, "strategy": strategy, "request": 1, "a": value, **others, **costs}

    rows = [row("retrain", 1.0), row("retrain-2", 3.0, d=1.0), row("x", 10.0, d=2.0)]
    rows += [row("retrain", 5.0, seed=1), row("x", 6.0, seed=1)]
    found = with_gaps(rows)
    assert [each["a_gap"] for each in found] == [-2, 2, 8, 0, 1]
    assert all(each.keys() == {*given, "a_gap"} for each, given in zip(found, rows, strict=True))
    assert with_gaps(found) == found
    lost = with_gaps([row("retrain", 1.0), row("retrain-2", float("nan")), row("x", 2.0)])
    assert np.isnan([each["a_gap"] for each in lost]).tolist() == [True, True, True]


def test_gaps_are_differences_where_both_have_the_metric():
    retrained = {"test_accuracy": 0.9, "membership_auc": 0.5}
    values = {"test_accuracy": 0.75, "attack_success_rate": 1.0}
    assert gaps(values, retrained) == {"test_accuracy_gap": 0.75 - 0.9}
    assert set(gaps(retrained, retrained).values()) == {0.0}
