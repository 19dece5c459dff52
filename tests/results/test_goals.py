"""Targets and utilities: what each asks for, who misses it, and which lists cannot be."""

import math

import pandas as pd
import pytest

from fedunlearn.checks import FieldRefused, Refused
from fedunlearn.results import Case, Goals, misses
from fedunlearn.results.certificates import Thresholds

COLUMNS = ["seed", "strategy", "request", "phase", "round", "metric", "value"]


def missed(goals, *branches, verdicts=(), probe="took"):
    """What one seed's models missed; a branch is (strategy, metric, before, after)."""
    rows = [
        (0, strategy, 1, "unlearn", number, metric, value)
        for strategy, metric, *both in branches
        for number, value in enumerate(both)
    ]
    metrics = pd.DataFrame(rows, columns=COLUMNS)
    said = pd.DataFrame(verdicts, columns=["request", "strategy", "metric", "verdict"])
    summary = [
        {"seed": 0, "strategy": name, "request": 1, "probe": probe}
        for name in dict.fromkeys(branch[0] for branch in branches)
    ]
    found = misses(goals, summary, metrics, said)
    return {case.strategy: list(what) for case, what in found.items()}


def targets(measure, verdict):
    return Goals.of([{"measure": measure, "verdict": verdict}], [])


def utilities(measure, margin):
    return Goals.of([], [{"measure": measure, "margin": margin}])


@pytest.mark.parametrize(("after", "reached"), [(0.0, True), (0.1, True), (0.1001, False)])
def test_a_limit_is_one_for_the_value_after_the_request(after, reached):
    found = missed(
        targets("attack_success_rate", "at most 0.1"), ("a", "attack_success_rate", 0.9, after)
    )
    assert (found["a"] == []) is reached


@pytest.mark.parametrize("verdict", ["inside", "undecided", "outside", None])
def test_as_retrained_is_the_verdict_inside_and_retraining_has_none(verdict):
    goals = targets("forget_loss", "as retrained")
    said = [] if verdict is None else [(1, "a", "forget_loss", verdict)]
    branches = [(name, "forget_loss", 1.0, 2.0) for name in ("retrain", "retrain-2", "a")]
    found = missed(goals, *branches, verdicts=said)
    assert found["retrain"] == found["retrain-2"] == []
    wanted = [] if verdict == "inside" else [f"{verdict or 'no verdict'}, not as retrained"]
    assert found["a"] == [f"forget_loss: {what}" for what in wanted]


@pytest.mark.parametrize(
    ("metric", "before", "after", "reached"),
    [
        ("test_accuracy", 0.9, 0.88, True),  # 0.02 less in floating point, too
        ("test_accuracy", 0.9, 0.879, False),
        ("test_accuracy", 0.9, 0.99, True),
        ("test_loss", 0.5, 0.52, True),  # low is good
        ("test_loss", 0.5, 0.53, False),
        ("test_loss", 0.5, 0.1, True),
    ],
)
def test_a_utility_may_be_worse_than_before_by_its_margin(metric, before, after, reached):
    found = missed(utilities(metric, 0.02), ("a", metric, before, after))
    assert (found["a"] == []) is reached


def test_what_cannot_be_told_is_missed():
    goals = targets("attack_success_rate", "at most 0.5")
    branch = ("a", "attack_success_rate", 0.9, 0.1)
    assert missed(goals, branch, probe="did not take")["a"] == [
        "attack_success_rate: the trigger did not take"
    ]
    for other in (("a", "test_loss", 1, 1), ("a", "attack_success_rate", 0.9, math.nan)):
        assert missed(goals, other)["a"] == ["attack_success_rate: there is no number"]


def test_without_goals_nothing_is_missed():
    assert not Goals()
    assert missed(Goals(), ("a", "test_accuracy", 1.0, 0.0)) == {"a": []}
    assert (
        misses(
            Goals(),
            [],
            pd.DataFrame(columns=COLUMNS),
            pd.DataFrame(columns=["request", "strategy", "metric", "verdict"]),
        )
        == {}
    )
    assert Case(0, "a", 1).strategy == "a"


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"targets": [{"measure": "test_acuracy"}]}, "does not exist; did you mean test_accuracy"),
        (
            {"targets": [{"measure": "forget_loss", "verdict": "gone"}]},
            r"targets\[0\].verdict must be as retrained, or at most and a number, not 'gone'",
        ),
        (
            {"targets": [{"measure": "forget_loss", "verdict": "at most inf"}]},
            "must be as retrained",
        ),
        ({"targets": [{"measure": "forget_loss", "margin": 1}]}, "must name measure and verdict"),
        ({"targets": {"measure": "forget_loss"}}, "targets must be a list"),
        ({"targets": "forget_loss"}, "targets must be a list"),
        (
            {"utilities": [{"measure": "forget_loss"}]},
            r"utilities\[0\].measure=forget_loss is best where retraining is",
        ),
        (
            {"utilities": [{"measure": "test_accuracy", "margin": -1}]},
            r"utilities\[0\].margin must be a number at least 0",
        ),
        (
            {"targets": [{"measure": "weight_distance"}]},
            "gets no verdict next to retraining",
        ),
        (
            {
                "targets": [{"measure": "test_accuracy"}],
                "utilities": [{"measure": "test_accuracy"}],
            },
            "name test_accuracy twice",
        ),
    ],
)
def test_lists_that_cannot_be(lists, said):
    with pytest.raises(Refused, match=said) as refused:
        Thresholds({}, **lists)
    assert isinstance(refused.value, FieldRefused)
    assert str(refused.value.at("certificate")).startswith("certificate.")
