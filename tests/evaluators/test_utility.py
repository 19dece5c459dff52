import math

import pytest

from fedunlearn.evaluators import Utility
from tests.support.evaluated import hits, records, saying


def test_test_metrics():
    values = Utility()(saying({"test": hits(6, 2)}), None)
    right = math.log(math.exp(5) + 3) - 5
    assert values == {
        "test_accuracy": 0.75,
        "test_loss": pytest.approx(right + 5 * 2 / 8, rel=1e-6),
    }


def test_each_remaining_client_counts_once():
    sets = {"retained/0": hits(10, 0), "retained/7": hits(1, 1), "forget_heldout": hits(0, 9)}
    assert Utility()(saying(sets), None) == {
        "retained_accuracy": 0.75,
        "retained_accuracy_std": 0.25,
        "retained_accuracy_worst": 0.5,
    }


def test_clients_without_heldout_records_do_not_count():
    sets = {"retained/0": hits(3, 1), "retained/1": records([], [])}
    values = Utility()(saying(sets), None)
    assert values["retained_accuracy"] == values["retained_accuracy_worst"] == 0.75
    assert values["retained_accuracy_std"] == 0


def test_equal_clients_have_no_spread():
    sets = {f"retained/{client}": hits(2, 1) for client in range(7)}
    values = Utility()(saying(sets), None)
    assert values["retained_accuracy_std"] == pytest.approx(0, abs=1e-15)


def test_nothing_is_said_of_nothing():
    assert Utility()(saying({"test": records([], [])}), None) == {}
