import pytest

from fedunlearn.results.report.answers import TIMES, answer
from tests.support.report_tables import summary, verdicts

RETRAIN = {"test_accuracy": 0.97, "test_accuracy_gap": 0.0, "client_epochs": 480.0}
RETRAIN |= {"forget_accuracy": 0.28, "forget_accuracy_gap": 0.0, "test_loss": 0.1}
MINE = {"test_accuracy": 0.949, "test_accuracy_gap": -0.021, "client_epochs": 120.0}
MINE |= {"forget_accuracy": 0.3, "forget_accuracy_gap": 0.02, "test_loss": 0.2}
GOALS = ("forget_accuracy", "forget_loss", "membership_auc", "attack_success_rate")
OTHERS = ("test_accuracy", "test_loss", "retained_accuracy", "retained_accuracy_worst")


def told(found, seeds=(0, 1), **changes):
    table = summary({"retrain": RETRAIN, "federaser": {**MINE, **changes}}, seeds)
    return answer(table, verdicts({"federaser": found}), "federaser", 1, "forget_accuracy")


def test_the_sentence_counts_the_band_and_tells_accuracy_and_passes():
    found = told(dict.fromkeys((*GOALS, *OTHERS[1:]), "inside") | {OTHERS[0]: "outside"})
    assert found.outcome == "forgot"
    assert found.sentence == (
        "forgot client 3: inside the retrained band on 7 of 8 measures, 2.1 points of accuracy "
        "lost, 4.0\N{MULTIPLICATION SIGN} fewer client passes than retraining."
    )


@pytest.mark.parametrize(
    ("found", "outcome", "begins"),
    [
        ({"forget_loss": "under-forgotten"}, "remembers", "did not forget client 3: inside"),
        (
            {"forget_loss": "under-forgotten", "membership_auc": "inside"},
            "partly",
            "forgot client 3 only in part: inside the retrained band on 1 of 2 measures,",
        ),
        (
            {"forget_loss": "over-forgotten", "membership_auc": "under-forgotten"},
            "remembers",
            "did not forget client 3",
        ),
        (
            {"forget_loss": "over-forgotten", "membership_auc": "inside"},
            "damaged",
            "went beyond forgetting client 3",
        ),
        (
            dict.fromkeys(GOALS[:2], "over-forgotten") | {GOALS[2]: "under-forgotten"},
            "damaged",
            "went beyond forgetting client 3",
        ),
        (
            dict.fromkeys(GOALS[:2], "under-forgotten") | {GOALS[2]: "inside"},
            "remembers",
            "did not forget client 3: inside the retrained band on 1 of 3 measures,",
        ),
        (
            {"forget_loss": "undecided", "membership_auc": "undecided", "test_loss": "inside"},
            "undecided",
            "may or may not have forgotten client 3: inside the retrained band on 1 of 3 measures "
            "(2 undecided)",
        ),
        (
            {"forget_loss": "undecided", "membership_auc": "inside"},
            "forgot",
            "forgot client 3: inside the retrained band on 1 of 2 measures (1 undecided)",
        ),
        ({"test_loss": "outside", "forget_loss": "inside"}, "forgot", "forgot client 3:"),
    ],
)
def test_measures_of_forgetting_decide_the_outcome(found, outcome, begins):
    result = told(found)
    assert result.outcome == outcome
    assert result.sentence.startswith(begins)


def test_without_verdicts_the_measure_stands_next_to_retrainings():
    found = told({}, seeds=(0,))
    assert found.outcome == "unjudged"
    assert found.sentence == (
        "accuracy on the leaver's records 30.0 %, retrained 28.0 %; 2.1 points of accuracy lost, "
        "4.0\N{MULTIPLICATION SIGN} fewer client passes than retraining."
    )


def test_a_metric_that_is_missing_is_said_to_be():
    table = summary({"retrain": {"client_epochs": 9.0}, "mine": {"client_epochs": 9.0}})
    found = answer(table, verdicts({}), "mine", 1, "forget_accuracy")
    assert found.sentence == (
        "what it forgot was not measured; accuracy not measured, as many client passes as "
        "retraining."
    )


def test_a_model_that_computes_no_numbers_has_diverged_whatever_the_verdicts_say():
    nothing = float("nan")
    found = told({"forget_accuracy": "inside"}, test_loss=nothing, test_accuracy_gap=-0.9)
    assert found.outcome == "diverged"
    assert found.sentence.startswith(
        "diverged under 2 of 2 seeds: its model no longer computes numbers; 90.0 points"
    )
    assert told({}, seeds=(0,), test_loss=nothing).sentence.startswith("diverged: its")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test_accuracy_gap": 0.004}, "0.4 points of accuracy gained"),
        ({"test_accuracy_gap": -0.0004}, "as accurate as retraining"),
        ({"client_epochs": 0.0}, "no client passes at all."),
        (
            {"client_epochs": 960.0},
            f"2.0{TIMES} as many client passes as retraining.",
        ),
        ({"client_epochs": 480.5}, "as many client passes as retraining."),
    ],
)
def test_costs_and_accuracy_in_words(change, words):
    assert words in told({"forget_loss": "inside"}, **change).sentence


def test_a_backdoor_that_did_not_take_tells_nothing():
    rows = {"retrain": {**RETRAIN, "attack_success_rate": 0.0}}
    rows["mine"] = {**MINE, "attack_success_rate": 0.0}
    table = summary(rows, probe="did not take")
    found = answer(table, verdicts({}), "mine", 1, "attack_success_rate")
    assert found.sentence.startswith("the planted backdoor did not take, so it cannot tell;")


def test_several_leavers_are_named():
    table = summary({"retrain": RETRAIN, "mine": MINE}, clients="1+2")
    found = answer(table, verdicts({"mine": {"forget_loss": "inside"}}), "mine", 1, "x")
    assert found.sentence.startswith("forgot clients 1 and 2:")
