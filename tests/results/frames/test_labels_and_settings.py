"""Who holds what, and what a multirun varies: the same for files and for the page."""

import pandas as pd
import pytest

from fedunlearn.results.frames import label_counts, numeric, settings_of, varied, wide_range

CLIENTS = pd.DataFrame(
    [(1, 1, "b", 5), (1, 1, "a", 0), (1, 0, "b", 2), (1, 0, "a", 7), (2, 0, "b", 99)],
    columns=["seed", "client", "label", "train"],
)


def test_counts_are_those_of_the_first_seed_with_clients_ascending_and_labels_as_they_come():
    found = label_counts(CLIENTS, pd.DataFrame({"clients": ["1", "", "1+3"]}))
    assert (found.seed, found.clients, found.leavers) == (1, [0, 1], {1, 3})
    assert found.counts.to_dict() == {0: {"b": 2, "a": 7}, 1: {"b": 5, "a": 0}}
    assert list(found.counts.index) == ["b", "a"]
    assert found.most == 7
    assert found.asked.leaves == "clients 1 and 3 leave"
    rows = [tuple(row) for row in found.records.itertuples(index=False)]
    assert rows == [(0, "b", 2, False), (0, "a", 7, False), (1, "b", 5, True), (1, "a", 0, True)]


def test_requests_of_several_scopes_are_told_together():
    asked = {"clients": ["1", "0"], "scope": ["labels=7", "labels=7"]}
    found = label_counts(CLIENTS, pd.DataFrame(asked))
    assert found.asked.leaves == "clients 0 and 1 have label 7 erased"
    mixed = label_counts(CLIENTS, pd.DataFrame({**asked, "scope": ["labels=7", "everything"]}))
    assert "some of their records erased (several scopes)" in mixed.asked.leaves


@pytest.mark.parametrize(
    ("clients", "labels", "few"), [(20, 25, True), (21, 2, False), (2, 26, False)]
)
def test_numbers_are_written_where_cells_have_room(clients, labels, few):
    rows = [(0, c, str(label), 1) for c in range(clients) for label in range(labels)]
    table = pd.DataFrame(rows, columns=list(CLIENTS))
    assert label_counts(table, pd.DataFrame({"clients": ["0"]})).few is few


def test_settings_are_what_differs_between_runs_and_no_seed():
    runs = ["seed=0 strategy.rounds=1 +a.b=x", "seed=1 strategy.rounds=2 +a.b=x", "seeds=[0] c=5"]
    settings = pd.DataFrame([settings_of(text.split()) for text in runs])
    assert varied(settings) == ["strategy.rounds", "a.b", "c"]
    assert varied(settings.iloc[:2]) == ["strategy.rounds"]
    assert settings_of(["~d", "e=f=g"]) == {"d": "", "e": "f=g"}


def test_numbers_are_numbers_only_where_all_are():
    assert numeric(pd.Series(["1", "2.5"])).tolist() == [1, 2.5]
    assert numeric(pd.Series(["1", "x"])) is None


def test_a_range_is_wide_by_its_values_above_zero():
    assert wide_range([0, 1, 8])
    assert not wide_range([1, 7.9])
    assert not wide_range([-100, 0, 5])
