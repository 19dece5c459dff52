"""The times of requests.csv add up."""

import pytest

from fedunlearn.results import Asked, Case, request_rows
from fedunlearn.results.certificates import Thresholds


def case(request, rounds, strategy="none", seed=0):
    return {"seed": seed, "strategy": strategy, "request": request, "rounds": rounds}


def test_waiting_queueing_and_rounds_add_up():
    asked = [
        Asked(1, 4, "everything", 0.5, 2),
        Asked(1, 7, "everything", 1.25, 2),
        Asked(2, 1, "share=0.2", 1.5, 2),
        Asked(3, 2, "everything", 5.0, 5),
    ]
    rows = request_rows([case(1, 5), case(2, 7), case(3, 2)], asked, recovery=2)
    times = ("waited", "queued", "unlearning_rounds", "recovery_rounds", "rounds_to_forget")
    assert [(row["client"], *(row[name] for name in times)) for row in rows] == [
        (4, 1.5, 0, 3, 2, 6.5),
        (7, 0.75, 0, 3, 2, 5.75),
        (1, 0.5, 5, 5, 2, 12.5),
        (2, 0.0, 0, 0, 2, 2.0),
    ]


def test_strategies_and_seeds_wait_for_their_own_only():
    asked = [Asked(1, 0, "everything", 3, 3), Asked(2, 1, "everything", 3, 3)]
    cases = [case(n, 4, s, seed) for seed in (0, 1) for s in ("a", "b") for n in (1, 2)]
    rows = request_rows(cases, asked, recovery=0)
    assert [row["queued"] for row in rows] == [0, 4] * 4


def test_a_request_that_changes_nothing_takes_no_round():
    [row] = request_rows([case(1, 0)], [Asked(1, 0, "labels=7", 3, 3)], recovery=5)
    assert row["recovery_rounds"] == row["unlearning_rounds"] == row["rounds_to_forget"] == 0


APPROVED = {
    "always": {True: True, False: True, None: True},
    "thresholds": {True: True, False: False, None: False},
    "never": {True: False, False: False, None: False},
}


@pytest.mark.parametrize("verified", [True, False, None])
@pytest.mark.parametrize("approval", APPROVED)
def test_a_request_is_released_when_it_is_finished_if_its_conclusion_suffices(approval, verified):
    asked = [Asked(1, 0, "everything", 3, 3), Asked(2, 1, "everything", 2.5, 3)]
    found = {Case(0, "none", 2): verified}
    approves = Thresholds({}, approval).approves
    _, row = request_rows([case(1, 4), case(2, 5)], asked, 2, found, approves)
    approved = APPROVED[approval][verified]
    assert (row["begun"], row["finished"]) == (7, 12)
    assert row["finished"] - row["arrived"] == row["rounds_to_forget"]
    assert row["verified"] == {True: "yes", False: "no", None: ""}[verified]
    assert row["decision"] == ("approved" if approved else "rejected")
    assert row["released"] == (12 if approved else "")


def test_what_was_noted_and_missed_stands_in_the_row_and_a_miss_is_not_released():
    asked = [Asked(1, 0, "everything", 3, 3), Asked(2, 1, "everything", 3, 3)]
    here = Case(0, "none", 2)
    goals = Thresholds({}, "thresholds", targets=({"measure": "attack_success_rate"},))
    missed = {here: ("attack_success_rate: outside, not as retrained",)}
    noted = {here: {"accuracy": 0.93, "retrained": 12}}
    first, second = request_rows(
        [case(1, 4), case(2, 5)], asked, 0, approves=goals.approves, noted=noted, missed=missed
    )
    assert (first["notes"], first["missed"], first["decision"]) == ("", "", "approved")
    assert second["notes"] == "accuracy=0.93 retrained=12"
    assert second["missed"] == "attack_success_rate: outside, not as retrained"
    assert (second["decision"], second["released"]) == ("rejected", "")


GOAL = ({"measure": "attack_success_rate", "verdict": "at most 0.1"},)
LIMITS = {"test_accuracy_gap": 0.02}


@pytest.mark.parametrize(
    ("thresholds", "forgotten", "missed", "approved"),
    [
        (Thresholds({}, "thresholds", GOAL), None, (), True),  # goals are all that counts
        (Thresholds({}, "thresholds", GOAL), False, (), False),  # the audit or the answer
        (Thresholds({}, "thresholds", GOAL), None, ("x: 1",), False),
        (Thresholds(LIMITS, "thresholds", GOAL), None, (), False),  # nothing could be judged
        (Thresholds(LIMITS, "thresholds", GOAL), True, (), True),
        (Thresholds(LIMITS, "thresholds", GOAL), True, ("x: 1",), False),
        (Thresholds(LIMITS, "always", GOAL), False, ("x: 1",), True),
        (Thresholds(LIMITS, "never", GOAL), True, (), False),
    ],
)
def test_thresholds_and_goals_must_both_be_met(thresholds, forgotten, missed, approved):
    assert thresholds.approves(forgotten, missed) is approved
