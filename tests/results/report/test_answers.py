import pytest

from fedunlearn.results import RETRAIN_AGAIN
from fedunlearn.results.report.answers import SIGNS, TIMES, VERBS, answer
from tests.support.report_tables import summary

RETRAIN = {"test_accuracy": 0.97, "test_accuracy_gap": 0.0, "client_epochs": 480.0}
RETRAIN |= {"forget_accuracy": 0.28, "forget_accuracy_gap": 0.0, "test_loss": 0.1}
MINE = {"test_accuracy": 0.949, "test_accuracy_gap": -0.021, "client_epochs": 120.0}
MINE |= {"forget_accuracy": 0.3, "forget_accuracy_gap": 0.02, "test_loss": 0.2}


def row(strategy="federaser", word="as retrained", reason="All lie within the margin."):
    return {"request": 1, "strategy": strategy, "answer": word, "reason": reason}


def told(word="as retrained", seeds=(0, 1), chief="forget_accuracy", **changes):
    table = summary({"retrain": RETRAIN, "federaser": {**MINE, **changes}}, seeds)
    return answer(row(word=word), table, chief)


def test_the_sentence_is_that_of_the_file_with_accuracy_and_client_epochs():
    found = told()
    assert (found.outcome, found.style) == ("as retrained", "as-retrained")
    assert found.sentence == (
        "forgot client 3. All lie within the margin. 2.1 points of accuracy lost, 4.0"
        "\N{MULTIPLICATION SIGN} fewer client epochs than retraining."
    )


@pytest.mark.parametrize("word", SIGNS)
def test_every_answer_has_a_verb_a_sign_and_its_reason(word):
    found = told(word)
    assert found.outcome == word
    assert found.sentence.startswith(VERBS[word].format("client 3"))
    assert "All lie within the margin." in found.sentence
    assert SIGNS.keys() == VERBS.keys()


def test_what_is_undecided_stands_next_to_retraining():
    assert (
        "Accuracy on the leaver's records 30.0 %, retrained 28.0 %. 2.1 points of accuracy lost"
        in told("undecided", seeds=(0,)).sentence
    )


def test_retraining_again_costs_what_retraining_costs():
    table = summary({"retrain": RETRAIN, "retrain-2": RETRAIN})
    assert answer(row(RETRAIN_AGAIN), table, "x").sentence.endswith("All lie within the margin.")


def test_a_metric_that_is_missing_is_said_to_be():
    table = summary({"retrain": {"client_epochs": 9.0}, "mine": {"client_epochs": 9.0}})
    found = answer(row("mine", "undecided"), table, "forget_accuracy")
    assert found.sentence.endswith(
        "What it forgot was not measured. Accuracy not measured, as many client epochs as "
        "retraining."
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test_accuracy_gap": 0.004}, "0.4 points of accuracy gained"),
        ({"test_accuracy_gap": -0.0004}, "As accurate as retraining"),
        ({"client_epochs": 0.0}, "no client epochs at all."),
        (
            {"client_epochs": 960.0},
            f"2.0{TIMES} as many client epochs as retraining.",
        ),
        ({"client_epochs": 480.5}, "as many client epochs as retraining."),
    ],
)
def test_costs_and_accuracy_in_words(change, words):
    assert words in told(**change).sentence


def test_a_backdoor_that_did_not_take_tells_nothing():
    rows = {"retrain": {**RETRAIN, "attack_success_rate": 0.0}}
    rows["mine"] = {**MINE, "attack_success_rate": 0.0}
    table = summary(rows, probe="did not take")
    found = answer(row("mine", "undecided"), table, "attack_success_rate")
    assert "The planted backdoor did not take, so it cannot tell." in found.sentence


def test_several_leavers_are_named():
    table = summary({"retrain": RETRAIN, "mine": MINE}, clients="1+2")
    assert answer(row("mine"), table, "x").sentence.startswith("forgot clients 1 and 2.")
