"""Tug of war: by hand, and from the rows of a summary."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.svm import SVC

from fedunlearn.evaluators import strangers, tug_of_war
from fedunlearn.evaluators.tradeoff_scores import tradeoffs


def test_tug_of_war_by_hand():
    assert tug_of_war([0.1, -0.2, 0.05]) == pytest.approx(0.9 * 0.8 * 0.95)
    assert tug_of_war([0, 0, 0]) == 1
    assert tug_of_war([0, -1, 0]) == 0
    assert math.isnan(tug_of_war([0.1, math.nan, 0]))
    with pytest.raises(ValueError, match="between -1 and 1"):
        tug_of_war([0.1, 1.5, 0])


def summary():
    return pd.DataFrame(
        {
            "seed": [0, 0],
            "strategy": ["retrain", "federaser"],
            "request": [1, 1],
            "forget_accuracy": [0.9, 0.8],
            "forget_accuracy_gap": [0.0, -0.1],
            "retained_accuracy_gap": [0.0, 0.2],
            "test_accuracy_gap": [0.0, -0.05],
            "membership_auc_gap": [0.0, math.nan],
            "bytes_down": [1, 1],
        }
    )


def test_a_summary_gives_rows():
    found = tradeoffs(summary())
    assert list(found) == ["seed", "strategy", "request", "metric", "value"]
    assert found["metric"].tolist() == ["tow", "tow", "tow_mia", "tow_mia"]
    assert found["strategy"].tolist() == ["retrain", "federaser"] * 2
    expected = [1, 0.9 * 0.8 * 0.95, 1, math.nan]
    assert found["value"].tolist() == pytest.approx(expected, nan_ok=True)


def test_the_membership_gap_stands_in_for_the_forget_gap():
    found = tradeoffs(summary().assign(membership_auc_gap=[0.0, 0.3]))
    assert found["value"].iloc[-1] == pytest.approx(0.7 * 0.8 * 0.95)


def test_gaps_that_are_not_there_give_no_rows():
    found = tradeoffs(summary().drop(columns="membership_auc_gap"))
    assert found["metric"].unique().tolist() == ["tow"]
    none = tradeoffs(summary().drop(columns="test_accuracy_gap"))
    assert list(none) == ["seed", "strategy", "request", "metric", "value"]
    assert none.empty
    assert tradeoffs(summary().head(0)).empty
    assert next(iter(tradeoffs(summary().assign(run="a")))) == "run"


def test_strangers_look_like_test_records():
    rng = np.random.default_rng(0)
    members, others = 0.9 + 0.1 * rng.random(200), 0.5 * rng.random(80)
    forget = np.concatenate([0.9 + 0.1 * rng.random(30), 0.5 * rng.random(10)])
    assert strangers(forget, members, others) == 0.25
    assert strangers(forget, others, members) == 0.75
    assert strangers(forget[:30], members, others) == 0


def test_the_kernel_of_strangers_has_the_width_of_its_source():
    """exp(-(x - y)^2): "auto" is 1 / features, while "scale" is 1 / variance, narrower by far."""
    rng = np.random.default_rng(3)
    members, others, forget = rng.beta(6, 1, 200), rng.beta(2, 1, 200), rng.beta(3, 1, 400)
    known = np.concatenate([members, others])[:, None]
    member = np.arange(400) < 200
    shares = {}
    for name, gamma in (("source", 1.0), ("scale", 1 / known.var())):

        def kernel(x, y, gamma=gamma):
            return np.exp(-gamma * (x - y.T) ** 2)

        attack = SVC(C=3, kernel=kernel).fit(known, member)
        shares[name] = 1 - attack.predict(forget[:, None]).mean()
    assert strangers(forget, members, others) == pytest.approx(shares["source"])
    assert shares["source"] != pytest.approx(shares["scale"], abs=0.01)


def test_strangers_learns_from_equally_many_of_each():
    # With 900 against 100 of the same distribution, an attack would call everybody a member.
    rng = np.random.default_rng(1)
    shares = [strangers(rng.random(200), rng.random(900), rng.random(100), s) for s in range(9)]
    assert 0.2 < np.mean(shares) < 0.8


def test_strangers_without_records_or_numbers():
    some = np.array([0.1, 0.9])
    assert math.isnan(strangers(np.array([math.nan]), some, some))
    assert math.isnan(strangers(some, np.array([0.2, math.nan]), some))
    with pytest.raises(ValueError, match="all three kinds"):
        strangers(some, some, some[:0])
