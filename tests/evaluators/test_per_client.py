import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.evaluators import PerClient, Utility, comparison
from tests.support.evaluated import CLASSES, hits, randomly, records, saying

SETS = {"forget": randomly(30, seed=0)} | {
    f"retained/{client}": randomly(20 + client, seed=client) for client in (1, 4, 12)
}


def of_class(label, n=4):
    return records(torch.zeros(n, CLASSES), [label] * n)


def test_each_client_has_its_accuracy_and_their_mean_is_known():
    sets = {"retained/0": hits(10, 0), "retained/7": hits(1, 1), "forget_heldout": hits(0, 9)}
    assert PerClient()(saying(sets), None) == {
        "retained_accuracy/0": 1,
        "retained_accuracy/7": 0.5,
    }


def test_next_to_a_retrained_model_each_client_is_compared_on_its_own_records():
    ours, theirs = saying(SETS, scale=-1.0), saying(SETS, scale=0.5)
    values = PerClient()(ours, theirs)
    assert set(values) == {
        *("retained_agreement", "retained_divergence"),
        *(
            f"retained_{what}/{client}"
            for what in ("accuracy", "agreement", "divergence")
            for client in (1, 4, 12)
        ),
    }
    for compare in (comparison.agreement, comparison.divergence):
        each = [
            compare(ours.logits(f"retained/{client}"), theirs.logits(f"retained/{client}"))
            for client in (1, 4, 12)
        ]
        what = f"retained_{compare.__name__}"
        assert [values[f"{what}/{client}"] for client in (1, 4, 12)] == each
        assert values[what] == pytest.approx(sum(each) / 3)
    assert len({values[f"retained_divergence/{client}"] for client in (1, 4, 12)}) == 3


def test_the_retrained_model_agrees_with_itself_everywhere():
    values = PerClient()(saying(SETS), saying(SETS))
    assert values["retained_agreement"] == 1
    assert values["retained_divergence"] == 0
    mean = sum(values[f"retained_accuracy/{client}"] for client in (1, 4, 12)) / 3
    assert mean == pytest.approx(Utility()(saying(SETS), None)["retained_accuracy"])


def test_clients_without_records_are_left_out():
    sets = {"retained/0": records([], []), "retained/1": hits(1, 0)}
    assert PerClient()(saying(sets), None) == {"retained_accuracy/1": 1}
    nobody = saying({"retained/0": records([], [])})
    assert PerClient()(nobody, nobody) == {}


SKEWED = {
    "forget": records(torch.zeros(4, CLASSES), [0, 0, 1, 1]),
    "retained/1": of_class(2),  # nothing in common
    "retained/2": of_class(0),  # half
    "retained/3": records(torch.zeros(4, CLASSES), [0, 1, 0, 1]),  # all
    "retained/4": of_class(1),  # half
    "retained/5": of_class(3),  # nothing
}


class TestMost:
    def clients(self, most, sets):
        values = PerClient(most)(saying(sets), saying(sets, scale=2.0))
        clients = {int(name.split("/")[1]) for name in values if "/" in name}
        assert len([name for name in values if "/" in name]) == 3 * len(clients)
        return clients

    @pytest.mark.parametrize(
        ("most", "shown"),
        [
            (0, set()),
            (1, {3}),
            (2, {3, 2}),
            (3, {3, 2, 4}),
            (4, {3, 2, 4, 1}),
            (9, {1, 2, 3, 4, 5}),
        ],
    )
    def test_those_most_like_the_leavers_are_shown(self, most, shown):
        assert self.clients(most, SKEWED) == shown

    def test_the_mean_is_over_all(self):
        values = [PerClient(most)(saying(SETS, scale=-1.0), saying(SETS)) for most in (1, 9)]
        assert len(values[0]) == 2 + 3
        for name in ("retained_agreement", "retained_divergence"):
            assert values[0][name] == values[1][name]

    def test_without_leavers_the_first_are_shown(self):
        sets = {name: held for name, held in SKEWED.items() if name != "forget"}
        assert self.clients(2, sets) == {1, 2}

    def test_it_must_count_clients(self):
        with pytest.raises(Refused, match=r"PerClient\.most"):
            PerClient(-1)
