"""Who pays, from tables made by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.results import load, who_pays
from fedunlearn.results.client_impact import COLUMNS
from fedunlearn.unlearning import Moment
from tests.support.measured import measured

LABELS = ("0", "1", "2")
COUNTS = {0: (4, 4, 0), 1: (2, 2, 0), 2: (0, 0, 7), 3: (9, 0, 3)}
SIMILARITY = {1: 1.0, 2: 0.0, 3: 0.5}  # to client 0


def accuracies(strategy, before, after, seed=0, request=1, phase="unlearn"):
    """Rows of metrics.csv: accuracies by client, before and at the end of a phase."""
    rows = []
    for when, number, values in (("unlearn", 0, before), (phase, 3, after)):
        for client, value in values.items():
            rows.append(
                (seed, strategy, request, when, number, f"retained_accuracy/{client}", value)
            )
    return rows


def summary(leavers="0", seeds=(0,), requests=(1,)):
    rows = [
        {"seed": seed, "strategy": "retrain", "request": request, "clients": leavers}
        for seed in seeds
        for request in requests
    ]
    return pd.DataFrame(rows)


def clients(seeds=(0,), counts=COUNTS):
    rows = [
        {"seed": seed, "client": client, "label": label, "train": n, "heldout": 100 - n}
        for seed in seeds
        for client, held in counts.items()
        for label, n in zip(LABELS, held, strict=True)
    ]
    return pd.DataFrame(rows)


BEFORE = {1: 0.9, 2: 0.8, 3: 0.7}
ROWS = [
    *accuracies("retrain", BEFORE, {1: 0.8, 2: 0.8, 3: 0.6}),
    *accuracies("mine", BEFORE, {1: 0.5, 2: 0.85, 3: 0.65}),
]


def test_every_client_has_its_accuracies_their_differences_and_its_similarity():
    table = who_pays(measured(ROWS), summary(), clients())
    assert list(table) == COLUMNS
    mine = table[table.strategy == "mine"].set_index("client")
    assert mine.before.to_dict() == BEFORE
    assert mine.after.to_dict() == {1: 0.5, 2: 0.85, 3: 0.65}
    assert mine.retrained.to_dict() == pytest.approx({1: 0.8, 2: 0.8, 3: 0.6})
    assert mine.change.to_dict() == pytest.approx({1: -0.4, 2: 0.05, 3: -0.05})
    assert mine.gap.to_dict() == pytest.approx({1: -0.3, 2: 0.05, 3: 0.05})
    assert mine.similarity.to_dict() == pytest.approx(SIMILARITY)
    assert set(mine.seeds) == {1}
    assert mine[["change_sd", "gap_sd"]].isna().all(axis=None)


def test_the_worst_come_first_or_the_most_similar():
    tables = {
        first: who_pays(measured(ROWS), summary(), clients(), first)
        for first in ("worst", "similar")
    }
    for first, order in (("worst", [1, 3, 2]), ("similar", [1, 3, 2])):
        mine = tables[first][tables[first].strategy == "mine"]
        assert mine.client.tolist() == order
    retrained = tables["worst"][tables["worst"].strategy == "retrain"]
    assert retrained.client.tolist() == [1, 3, 2]  # equal losses: the more similar one first


def test_equally_similar_clients_come_by_their_loss_and_then_by_number():
    rows = measured(accuracies("mine", BEFORE, {1: 0.7, 2: 0.4, 3: 0.5}))
    counts = {0: (1, 0, 0), 1: (1, 1, 0), 2: (3, 3, 0), 3: (2, 0, 2)}
    rows = pd.concat([rows, measured(accuracies("retrain", BEFORE, BEFORE))])
    table = who_pays(rows, summary(), clients(counts=counts), "similar")
    assert table[table.strategy == "mine"].client.tolist() == [2, 1, 3]
    assert table[table.strategy == "retrain"].client.tolist() == [1, 2, 3]


def test_strategies_and_requests_stay_in_their_order():
    rows = [
        row
        for request in (2, 1)
        for name in ("retrain", "zeta", "alpha")
        for row in accuracies(name, BEFORE, BEFORE, request=request)
    ]
    table = who_pays(measured(rows), summary(requests=(1, 2)), clients())
    cases = table[["request", "strategy"]].drop_duplicates().to_numpy().tolist()
    names = ["retrain", "zeta", "alpha"]
    assert cases == [[request, name] for request in (1, 2) for name in names]


def test_seeds_are_averaged_with_their_spread():
    rows = [
        row
        for seed, after in ((0, 0.5), (1, 0.7), (2, 0.9))
        for row in [
            *accuracies("retrain", {1: 0.9}, {1: 0.8 + seed / 100}, seed=seed),
            *accuracies("mine", {1: 0.9}, {1: after}, seed=seed),
        ]
    ]
    table = who_pays(measured(rows), summary(seeds=(0, 1, 2)), clients(seeds=(0, 1, 2)))
    row = table[table.strategy == "mine"].iloc[0]
    assert row.after == pytest.approx(0.7)
    assert row.change == pytest.approx(-0.2)
    assert row.change_sd == pytest.approx(0.2)
    assert row.retrained == pytest.approx(0.81)
    assert row.gap == pytest.approx(-0.11)
    assert row.gap_sd == pytest.approx(0.19)
    assert row.seeds == 3


def test_all_references_of_the_seed_count_and_none_is_its_own():
    ends = {"retrain": 0.8, "retrain-2": 0.6, "retrain-3": 0.7, "mine": 0.75, "rapid_retrain": 0.1}
    rows = [row for name, end in ends.items() for row in accuracies(name, {1: 0.9}, {1: end})]
    retrained = who_pays(measured(rows), summary(), clients()).set_index("strategy").retrained
    assert retrained.to_dict() == pytest.approx(
        {
            **{"retrain": 0.65, "retrain-2": 0.75, "retrain-3": 0.7},
            **{"mine": 0.7, "rapid_retrain": 0.7},
        }
    )


def test_a_reference_without_another_one_is_its_own():
    table = who_pays(measured(ROWS), summary(), clients())
    assert (table[table.strategy == "retrain"].gap == 0).all()


def test_after_is_after_recovery_where_there_is_one():
    rows = [
        *accuracies("retrain", {1: 0.9}, {1: 0.8}),
        *accuracies("retrain", {1: 0.9}, {1: 0.7}, phase="recover")[1:],
        (0, "retrain", 1, "train", 9, "retained_accuracy/1", 0.1),
    ]
    row = who_pays(measured(rows[::-1]), summary(), clients()).iloc[0]
    assert (row.before, row.after) == (0.9, 0.7)


@pytest.mark.parametrize(
    ("leavers", "expected"),
    [
        ("0", SIMILARITY),
        ("2", {0: 0.0, 1: 0.0, 3: 0.25}),
        (0, SIMILARITY),
        ("0+2", {1: 8 / 15, 3: 4 / 15 + 0.25}),
        ("", {0: math.nan, 1: math.nan}),
        (math.nan, {0: math.nan, 1: math.nan}),
    ],
)
def test_similarity_is_to_all_who_leave_together(leavers, expected):
    rows = accuracies("retrain", dict.fromkeys(expected, 0.9), dict.fromkeys(expected, 0.8))
    table = who_pays(measured(rows), summary(leavers), clients())
    found = table.set_index("client").similarity.to_dict()
    assert found == pytest.approx(expected, nan_ok=True)


def test_each_seed_has_its_own_division_of_the_data():
    two = pd.concat([clients(), clients(seeds=(1,), counts={0: (0, 1, 0), 1: (1, 0, 0)})])
    rows = [row for seed in (0, 1) for row in accuracies("retrain", {1: 1}, {1: 1}, seed=seed)]
    table = who_pays(measured(rows), summary(seeds=(0, 1)), two)
    assert table.similarity.tolist() == [0.5]  # 1 under one, 0 under the other


def test_the_order_of_the_rows_does_not_matter():
    tables = (measured(ROWS), clients())
    mixed = (each.sample(frac=1, random_state=0) for each in tables)
    rows, held = mixed
    both = [
        who_pays(*each) for each in ((tables[0], summary(), tables[1]), (rows, summary(), held))
    ]
    sorted_ones = [each.sort_values(["strategy", "client"], ignore_index=True) for each in both]
    pd.testing.assert_frame_equal(*sorted_ones)


def test_a_run_without_numbers_of_single_clients_gives_an_empty_table():
    rows = [(0, "retrain", 1, "unlearn", 0, "retained_accuracy", 0.9)]
    table = who_pays(measured(rows), summary(), clients())
    assert list(table) == COLUMNS
    assert len(table) == 0


def test_it_reads_what_a_run_wrote(tmp_path):
    with RunFolder(tmp_path) as folder:
        for name, after in (("retrain", 0.8), ("mine", 0.5)):
            for number, value in ((0, 0.9), (1, after)):
                values = {"retained_accuracy": value, "retained_accuracy/1": value}
                folder.metrics(0, name, Moment("unlearn", 1, number), values)
        train = [[counts[label] for label in range(3)] for counts in COUNTS.values()]
        folder.clients(0, LABELS, np.array(train), np.zeros((4, 3), dtype=int))
        costs = dict.fromkeys(
            ("bytes_down", "bytes_up", "client_epochs", "samples", "rounds", "seconds"), 0
        )
        case = {"seed": 0, "request": 1, "clients": "0", "probe": "", "store_bytes": 0}
        folder.summary([{**case, "strategy": name, **costs} for name in ("retrain", "mine")])
        folder.manifest({})
    run = load(tmp_path)
    table = who_pays(run.metrics, run.summary, run.clients).set_index("strategy")
    assert table.loc["mine", ["client", "before", "after", "retrained"]].tolist() == [
        *(1, 0.9, 0.5, 0.8)
    ]
    assert table.loc["mine", "similarity"] == pytest.approx(1)
