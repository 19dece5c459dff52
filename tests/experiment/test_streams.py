"""A stream of requests in a run: its files add up, references are shared, kills change nothing."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.data import Everything
from fedunlearn.evaluators import Utility
from fedunlearn.experiment import Cache, Evaluation, run
from fedunlearn.experiment.estimate import estimate
from fedunlearn.results import load, load_requests
from fedunlearn.unlearning import InBatches, Plain, Poisson, Request, ScopedClients, batched
from strategies.none import Nothing
from tests.support.folder_contents import contents
from tests.support.killed import STREAM, carry_out, killed
from tests.support.paces import PACE

LIGHT = replace(
    STREAM,
    strategies={"none": Nothing()},
    evaluation=Evaluation((Utility(),)),
    recovery=Plain(rounds=1),
)


def carried_out(experiment, folder):
    return run(experiment, (0,), folder, {}, Console(quiet=True))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ran")
    carried_out(LIGHT, folder)
    return folder


def test_requests_csv_adds_up(ran):
    table, run = load_requests(ran), load(ran)
    sizes = [len(request.clients) for request in LIGHT.requests]
    assert sizes == [2, 2, 1]
    assert len(table) == sum(sizes) * 2  # strategies, the reference among them
    parts = ["waited", "queued", "unlearning_rounds", "recovery_rounds"]
    np.testing.assert_allclose(table[parts].sum(axis=1), table["rounds_to_forget"])
    np.testing.assert_allclose(table["served"] - table["arrived"], table["waited"])
    np.testing.assert_allclose(table["finished"] - table["arrived"], table["rounds_to_forget"])
    assert (table["decision"] == "approved").all()
    assert (table["released"] == table["finished"]).all()
    concluded = {
        path.stem: json.loads(path.read_text())["forgotten"]
        for path in (ran / "certificates").glob("seed*.json")
    }
    words = {True: "yes", False: "no", None: ""}
    for row in table.to_dict("records"):
        name = f"seed{row['seed']}-{row['strategy']}-request{row['request']}"
        assert row["verified"] == words[concluded.get(name)]
    case = ["seed", "strategy", "request"]
    rounds = table.groupby(case)[["unlearning_rounds", "recovery_rounds"]].first().sum(axis=1)
    pd.testing.assert_series_equal(
        rounds, run.summary.set_index(case)["rounds"].sort_index(), check_names=False
    )
    steps = run.metrics[run.metrics["phase"] == "unlearn"].groupby(case)["round"].max()
    spent = table.groupby(case)["unlearning_rounds"].first()
    pd.testing.assert_series_equal(spent, steps, check_names=False)
    clients = table.groupby(case)["client"].agg(lambda each: "+".join(map(str, sorted(each))))
    pd.testing.assert_series_equal(
        clients, run.summary.set_index(case)["clients"].sort_index(), check_names=False
    )


def test_requests_without_a_stream_come_as_they_are_served(tmp_path):
    carried_out(replace(LIGHT, requests=(Request(frozenset({3, 1}), 4),)), tmp_path)
    table = load_requests(tmp_path)
    assert table["client"].tolist() == [1, 3] * 2
    assert (table["arrived"] == 4).all()
    assert not table[["waited", "queued"]].to_numpy().any()


def test_what_was_changed_since_is_refused(ran, tmp_path):
    for path in ran.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(ran)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(ran)).write_bytes(path.read_bytes())
    changed = tmp_path / "requests.csv"
    changed.write_text(changed.read_text().replace("everything", "planted"))
    with pytest.raises(Refused, match=r"requests\.csv is not as the run wrote it"):
        load_requests(tmp_path)


def test_a_run_goes_on_with_the_requests_that_it_began_with_only(ran, tmp_path):
    drawn = Poisson(rate=0.8, most=5, seed=3).drawn(8, 7)
    other = replace(LIGHT, requests=batched(drawn, InBatches(2), Everything(), 7))
    with pytest.raises(Refused, match="holds a run with other requests"):
        run(other, (0,), ran, {}, Console(quiet=True), resume=True)


@pytest.mark.slow
def test_the_references_of_all_prefixes_are_trained_once_and_read_then(tmp_path, monkeypatch, ran):
    asked, real = [], ScopedClients.train

    def train(self, *args, round, **kwargs):
        asked.append((self.ledger.moment.phase, self.ledger.moment.request))
        return real(self, *args, round=round, **kwargs)

    shared = replace(LIGHT, cache=tmp_path / "cache")
    carried_out(shared, tmp_path / "one")
    assert len(Cache(shared.cache).entries()) == 2  # the training before the stream, and retraining
    monkeypatch.setattr(ScopedClients, "train", train)
    carried_out(shared, tmp_path / "two")
    first, rounds = LIGHT.requests[0].after, LIGHT.training.rounds
    recovered = sum(phase == "recover" for phase, _ in asked)
    assert [phase for phase, _ in asked].count("train") == rounds - first
    assert recovered == len(asked) - (rounds - first) == len(LIGHT.requests)
    alone = contents(ran)
    both = contents(tmp_path / "two")
    for name in ("metrics.csv", "answers.csv"):
        assert both[name] == alone[name]
    # A cache still holds what the leavers sent, which certificates say.
    tables = [load_requests(folder).drop(columns="verified") for folder in (ran, tmp_path / "two")]
    pd.testing.assert_frame_equal(*tables)


def test_an_estimate_counts_a_stream_as_it_is_run(ran):
    counted = estimate(LIGHT, (0,), PACE)
    served = counted[counted["phase"] == "unlearn"]
    columns = ["seed", "strategy", "request", "bytes_down", "bytes_up", "rounds", "client_epochs"]
    real = load(ran).summary[columns]
    pd.testing.assert_frame_equal(
        served[columns].reset_index(drop=True), real.reset_index(drop=True), check_dtype=False
    )
    assert len(served) == 2 * len(LIGHT.requests)


@pytest.mark.slow
def test_a_stream_that_is_killed_now_and_then_ends_as_one_that_was_not(tmp_path):
    carry_out(tmp_path / "whole", "stream", resume=False)
    wanted = contents(tmp_path / "whole")
    assert "requests.csv" in wanted
    rng, deaths = np.random.default_rng(17), 0
    for event in rng.integers(20, 700, 10).tolist():
        deaths += killed(tmp_path / "killed", "stream", event=event)
    assert deaths >= 5
    carry_out(tmp_path / "killed", "stream")
    assert contents(tmp_path / "killed") == wanted
