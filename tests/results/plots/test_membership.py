"""The picture of who took part when."""

import numpy as np
import pytest

from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.results import load
from fedunlearn.results.frames import membership
from fedunlearn.results.plots.membership_map import MOST, memberships
from fedunlearn.unlearning import Moment
from tests.support.simulated_runs import summary_row, texts

ROUNDS = 10


def run_of(path, requests, timeline=None, clients=4, owners=None):
    """A run of one seed; ``requests`` are (clients, scope, after)."""
    with RunFolder(path) as folder:
        counts = np.ones((clients, 2), int)
        folder.clients(0, ["a", "b"], counts, counts)
        rows, done = [], 0
        for number, (asking, scope, after) in enumerate(requests, start=1):
            for trained in range(done + 1, after + 1):
                folder.metrics(0, "none", Moment("train", number - 1, trained), {"test_loss": 1.0})
            done = after
            first, costs = summary_row(0, "none", number, asking, "", scope)
            rows.append({**first, **costs})
        for trained in range(done + 1, ROUNDS + 1):
            moment = Moment("train", len(requests), trained)
            folder.metrics(0, "none", moment, {"test_loss": 1.0})
        folder.summary(rows)
        named = {"owners": {str(c): name for c, name in owners.items()}} if owners else {}
        config = {"withdrawal": {"timeline": timeline}}
        folder.manifest({"status": "finished", "config": config, **named})
    return load(path)


def spans(found):
    return [tuple(row) for row in found.spans.itertuples(index=False)]


def test_who_joins_returns_and_leaves_is_there_in_these_rounds(tmp_path):
    timeline = [
        {"after": 2, "join": [1]},
        {"after": 3, "clients": [0]},
        {"after": 6, "join": 0},
        {"after": 8, "clients": [2], "scope": {"share": 0.5}},
    ]
    run = run_of(tmp_path, [("0", "everything", 3), ("2", "share=0.5", 8)], timeline)
    found = membership(run, MOST)
    assert spans(found) == [(0, 1, 3), (0, 7, 10), (1, 3, 10), (2, 1, 10), (3, 1, 10)]
    assert sorted(map(tuple, found.events.to_numpy().tolist())) == [
        (0, 3, "leave"),
        (0, 6, "join"),
        (1, 2, "join"),
        (2, 8, "part"),
    ]
    shown = texts(memberships(run))
    assert {"joins", "leaves", "has some records erased", "Client", "Training round"} <= {*shown}


def test_who_leaves_and_returns_after_one_round_was_never_away(tmp_path):
    run = run_of(tmp_path, [("0", "everything", 3)], [{"after": 3, "join": [0]}])
    assert spans(membership(run, MOST))[:2] == [(0, 1, 3), (0, 4, 10)]


def test_owners_are_named_and_join_by_their_names(tmp_path):
    owners = dict(enumerate(["Ann", "Bo", "5.2", "Di"]))
    timeline = [{"after": 4, "join": ["Bo", 5.2]}]
    run = run_of(tmp_path, [("0", "everything", 6)], timeline, owners=owners)
    assert spans(membership(run, MOST)) == [(0, 1, 6), (1, 5, 10), (2, 5, 10), (3, 1, 10)]
    assert "1 (Bo)" in texts(memberships(run))


@pytest.mark.parametrize("requests", [[("0", "everything", 3)], [("", "labels=7", 3)]])
def test_nothing_is_drawn_where_clients_only_leave(requests, tmp_path):
    run = run_of(tmp_path, requests)
    assert membership(run, MOST) is None
    assert memberships(run) is None


def test_of_many_clients_those_are_drawn_to_whom_something_happens(tmp_path):
    timeline = [{"after": 2, "join": [7]}]
    run = run_of(tmp_path, [("3+5", "labels=7", 4)], timeline, clients=MOST + 1)
    assert membership(run, MOST).clients == [3, 5, 7]
    whole = membership(run, MOST + 1)
    assert whole.clients == list(range(MOST + 1))
