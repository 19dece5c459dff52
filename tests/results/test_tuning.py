"""Which setting comes nearest to retraining: distances by hand, and ties in their order."""

import math

import numpy as np
import pandas as pd
import pytest

from fedunlearn.results.columns import COST_COLUMNS, GAP_SUFFIX
from fedunlearn.results.comparisons import comparisons
from fedunlearn.results.margins import Margins
from fedunlearn.results.tuning import (
    TRIAL_COLUMNS,
    distance,
    printed_trials,
    trial_table,
    worst_measures,
)
from tests.support.terminal_text import text

REFERENCES = {"test_accuracy": (0.89, 0.90, 0.91), "forget_accuracy": (0.28, 0.30, 0.32)}
"""Two seeds have the same ones: standard deviations .01 and .02."""


def summary(models, requests=1):
    """A summary: each of ``models`` has its gaps to the references' means, and its epochs."""
    rows = []
    for request in range(1, requests + 1):
        for seed in (100, 101):
            case = {"seed": seed, "request": request, "clients": "0", "probe": None}
            for place, name in enumerate(("retrain", "retrain-2", "retrain-3")):
                values = {metric: three[place] for metric, three in REFERENCES.items()}
                rows.append({**case, "strategy": name, **values, "client_epochs": 100})
            for name, (gaps, epochs) in models.items():
                values = {m: three[1] + gaps.get(m, 0) for m, three in REFERENCES.items()}
                rows.append({**case, "strategy": name, **values, "client_epochs": epochs})
    found = pd.DataFrame(rows)
    found = found.assign(
        **{f"test_accuracy{GAP_SUFFIX}": found["test_accuracy"] - REFERENCES["test_accuracy"][1]}
    )
    return found.assign(**{name: 50 for name in COST_COLUMNS if name not in found})


def tried(names):
    """Two strategies, ``a`` and ``b``; of each name the digits are its trial."""
    return {
        name: (name[0], int(name[1:]), "" if name[1:] == "0" else f"x={name}") for name in names
    }


def test_the_distance_is_the_largest_gap_in_margins():
    """Margins are 4 * .01 and 4 * .02; gaps of .03 and .12 are .75 and 1.5 of them."""
    rows = summary({"a0": ({"test_accuracy": -0.03, "forget_accuracy": 0.12}, 10)})
    (case,) = (case for case in comparisons(rows) if case.strategy == "a0")
    away = distance(case, Margins())
    assert away == (pytest.approx(1.5), "forget_accuracy", pytest.approx((0.75 + 1.5) / 2))
    away = distance(case, Margins(spread=8, least=0.5))
    assert away[:2] == (pytest.approx(0.24), "forget_accuracy")


def test_a_retrained_model_is_at_no_distance():
    (again, _) = comparisons(summary({"a0": ({}, 0)}))
    assert distance(again, Margins())[0] <= 0.5  # 1.5 standard deviations of a margin of 4
    rows = summary({"a0": ({}, 0)})
    (case,) = (case for case in comparisons(rows) if case.strategy == "a0")
    assert distance(case, Margins())[0] == pytest.approx(0, abs=1e-12)


def test_a_model_that_computes_nothing_is_infinitely_far():
    rows = summary({"a0": ({"test_accuracy": math.nan}, 0)})
    (case,) = (case for case in comparisons(rows) if case.strategy == "a0")
    assert distance(case, Margins())[:2] == (math.inf, "test_accuracy")


def test_the_nearest_is_chosen_then_the_cheapest_then_the_first():
    near, far = {"forget_accuracy": 0.02}, {"forget_accuracy": 0.5}
    models = {
        **{"a0": (far, 1), "a1": (near, 40), "a2": (near, 20), "a3": (near, 20)},
        **{"b0": (near, 9), "b1": (far, 1)},
    }
    table = trial_table(summary(models), tried(models), Margins())
    assert list(table) == list(TRIAL_COLUMNS)
    best = table[table["chosen"]]
    assert list(zip(best["strategy"], best["trial"], strict=True)) == [("a", 2), ("b", 0)]
    assert best["work"].tolist() == [0.2, 0.09]
    shown = text(printed_trials(table))
    assert "x=a2" in shown
    assert "as they were" in shown
    assert max(map(len, shown.splitlines())) <= 84
    assert "within the margins of retraining" in worst_measures(table)


def test_of_equally_far_ones_the_one_that_is_nearer_on_average_is_chosen():
    """A measure that saturates is the same for all: the others tell them apart."""
    far = {"forget_accuracy": 0.8}
    models = {
        "a0": ({**far, "test_accuracy": -0.03}, 1),
        "a1": ({**far, "test_accuracy": -0.01}, 90),
        "a2": ({**far, "test_accuracy": 0.02}, 1),
    }
    table = trial_table(summary(models), tried(models), Margins())
    assert table["distance"].tolist() == [pytest.approx(10.0)] * 3
    assert table["chosen"].tolist() == [False, True, False]


def test_whoever_breaks_the_model_comes_last_however_near_it_is_otherwise():
    broken = {"test_accuracy": -0.11}
    models = {"a0": ({"forget_accuracy": 0.6}, 1), "a1": (broken, 1), "b0": (broken, 1)}
    table = trial_table(summary(models), tried(models), Margins()).set_index(["strategy", "trial"])
    assert table.loc[("a", 1), "distance"] < table.loc[("a", 0), "distance"]
    assert table["chosen"].tolist() == [True, False, True]
    assert table["broken"].tolist() == [False, True, True]
    shown = text(printed_trials(table.reset_index()))
    assert "broken" in shown
    words = worst_measures(table.reset_index())
    assert "accuracy on the leaver's records (1)" in words


def test_several_requests_count_alike():
    rows = summary({"a0": ({"forget_accuracy": 0.08}, 1)}, requests=2)
    later = (rows["request"] == 2) & (rows["strategy"] == "a0")
    rows.loc[later, "forget_accuracy"] += 0.16
    table = trial_table(rows, tried(["a0"]), Margins())
    assert table["distance"].tolist() == [pytest.approx(2.0)]
    assert table["worst"].tolist() == ["forget_accuracy"]


def test_better_than_retraining_on_a_measure_counts_as_a_gap_too():
    signs = np.array([1, -1])
    found = [
        trial_table(
            summary({"a0": ({"forget_accuracy": sign * 0.16}, 1)}), tried(["a0"]), Margins()
        )["distance"].item()
        for sign in signs
    ]
    assert found == [pytest.approx(2.0)] * 2
