import math

import pytest

from fedunlearn.evaluators import Forgetting
from tests.support.evaluated import hits, records, saying


def test_train_and_heldout_records_are_kept_apart():
    sets = {"forget": hits(4, 0), "forget_heldout": hits(1, 3), "forget_clean": hits(0, 5)}
    right = math.log(math.exp(5) + 3) - 5
    assert Forgetting()(saying(sets), None) == {
        "forget_accuracy": 1.0,
        "forget_loss": pytest.approx(right, rel=1e-4),
        "forget_heldout_accuracy": 0.25,
        "forget_heldout_loss": pytest.approx(right + 5 * 3 / 4, rel=1e-6),
    }


def test_labels_are_taken_as_the_leaver_trained_on_them():
    logits = [[5.0, 0, 0, 0]] * 4
    sets = {
        "forget": records(logits, [3, 3, 3, 0]),
        "forget_clean": records(logits[3:], [0]),
        "forget_heldout": records(logits, [0, 0, 3, 0]),
    }
    values = Forgetting()(saying(sets), None)
    assert values["forget_accuracy"] == 0.25
    assert values["forget_heldout_accuracy"] == 0.75


def test_before_anybody_leaves_there_is_nothing_to_forget():
    assert Forgetting()(saying({"test": hits(1, 1)}), None) == {}


def test_missing_heldout_records_leave_the_others_standing():
    sets = {"forget": hits(1, 1), "forget_heldout": records([], [])}
    assert set(Forgetting()(saying(sets), None)) == {"forget_accuracy", "forget_loss"}
