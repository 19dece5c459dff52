"""What must hold for every strategy when requests are about some of a client's records."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fedunlearn.checks import Refused
from fedunlearn.data import NoPlanting, PlantedRecords, RandomShare, WithLabels
from fedunlearn.flower import Local
from fedunlearn.history import Needs
from fedunlearn.simulations import docs_tables
from fedunlearn.unlearning import Join, Plain, Request
from tests.support.small_experiment import SMALL, carried_out

EVERYBODY = frozenset(range(4))
REPLAYING = sorted(
    name
    for name in docs_tables.singles()
    if docs_tables.strategy(name).needs.updates and not docs_tables.strategy(name).needs.replaces
)


def asked(*requests, joins=(), names=None, **changes):
    strategies = {name: docs_tables.strategy(name) for name in names or docs_tables.singles()}
    return replace(
        SMALL, requests=requests, joins=joins, strategies=strategies, recovery=Plain(1), **changes
    )


def metrics(folder):
    return (Path(folder) / "metrics.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["workers", "cohort"])
def test_a_share_of_one_is_leaving_for_every_strategy_bit_for_bit(mode, tmp_path):
    engine = Local(mode=mode)
    for name, request in (
        ("leaving", Request(frozenset({1}), 4)),
        ("share", Request(frozenset({1}), 4, RandomShare(1.0))),
    ):
        carried_out(asked(request, engine=engine), tmp_path / name)
    assert metrics(tmp_path / "share") == metrics(tmp_path / "leaving")


@pytest.mark.slow
def test_a_share_of_zero_is_nothing_for_every_strategy_bit_for_bit(tmp_path):
    for name, request in (
        ("nobody", Request(frozenset(), 4)),
        ("nothing", Request(frozenset({1}), 4, RandomShare(0.0))),
    ):
        # who asks is planted with a probe, whatever it asks for
        carried_out(asked(request, planting=NoPlanting()), tmp_path / name)
    assert metrics(tmp_path / "nothing") == metrics(tmp_path / "nobody")


@pytest.mark.slow
@pytest.mark.parametrize(
    "scope", [RandomShare(0.3), WithLabels((9,)), PlantedRecords()], ids=lambda scope: scope.words
)
def test_every_strategy_serves_a_part_and_nothing_is_left_of_it(scope, tmp_path):
    """The client stays, its earlier updates are gone, and the audit finds nothing."""
    summary = carried_out(asked(Request(frozenset({1}), 3, scope)), tmp_path)
    assert set(docs_tables.singles()) <= set(summary["strategy"])
    assert summary["test_accuracy"].notna().all()
    for path in (tmp_path / "certificates").glob("*.json"):
        assert json.loads(path.read_text())["audit"]["findings"] == []
    ledger = pd.read_csv(tmp_path / "ledger.csv")
    last = ledger[(ledger["phase"] == "train") & (ledger["round"] == 4) & (ledger["request"] == 1)]
    assert set(last["client"]) == EVERYBODY  # training goes on with everybody
    exact = summary.set_index("strategy")
    assert exact.loc["exact_rollback", "test_loss_gap"] == 0


@pytest.mark.slow
def test_a_class_is_unlearned_by_those_whose_mathematics_covers_it(tmp_path):
    names = sorted(set(docs_tables.singles()) - set(REPLAYING))
    request = Request(EVERYBODY, 4, WithLabels((7,)))
    summary = carried_out(asked(request, names=names), tmp_path).set_index("strategy")
    assert set(names) <= set(summary.index)
    assert summary.loc["retrain", "forget_accuracy"] == 0  # nobody shows it a seven
    assert summary.loc["retrain", "forget_heldout_accuracy"] == 0
    assert summary.loc["exact_rollback", "forget_loss_gap"] == 0


@pytest.mark.parametrize("name", REPLAYING)
def test_replays_are_refused_where_everybody_asks(name):
    with pytest.raises(Refused, match=f"strategy={name} needs updates of clients who ask for noth"):
        asked(Request(EVERYBODY, 4, WithLabels((7,))), names=[name])
    asked(Request(EVERYBODY - {2}, 4, WithLabels((7,))), names=[name])


def test_sums_of_the_start_are_refused_where_somebody_joins_later():
    summing = [n for n in docs_tables.singles() if docs_tables.strategy(n).needs.statistics]
    assert summing
    for name in summing:
        with pytest.raises(Refused, match=f"strategy={name} adds up what all clients send before"):
            asked(Request(frozenset({1}), 4), joins=[Join(frozenset({2}), 2)], names=[name])


@pytest.mark.slow
def test_every_strategy_serves_a_federation_that_clients_join_and_return_to(tmp_path):
    names = [n for n in docs_tables.singles() if not docs_tables.strategy(n).needs.statistics]
    requests = (Request(frozenset({1}), 2), Request(frozenset({1}), 4))
    joins = (Join(frozenset({3}), 1), Join(frozenset({1}), 3))
    summary = carried_out(asked(*requests, joins=joins, names=names), tmp_path)
    assert summary["test_accuracy"].notna().all()
    ledger = pd.read_csv(tmp_path / "ledger.csv")
    trained = ledger[(ledger["phase"] == "train") & (ledger["strategy"] == "retrain")]
    shared = ledger[(ledger["phase"] == "train") & (ledger["strategy"] == "shared")]
    assert {n: set(g["client"]) for n, g in shared.groupby("round")} == {
        1: {0, 1, 2},
        2: EVERYBODY,
    }
    assert {n: set(g["client"]) for n, g in trained.groupby("round")} == {
        3: {0, 2, 3},
        4: EVERYBODY,
    }
    for path in (tmp_path / "certificates").glob("*.json"):
        assert json.loads(path.read_text())["audit"]["findings"] == []


def test_the_ridge_head_of_what_is_left_is_the_one_of_those_records(tmp_path):
    """Sums of who keeps a part are asked anew: its model is as if the rest had never been."""
    part = asked(Request(frozenset({1}), 4, RandomShare(0.4)), names=["ridge_head"])
    assert docs_tables.strategy("ridge_head").needs == Needs(statistics=True)
    summary = carried_out(part, tmp_path).set_index("strategy")
    assert summary.loc["ridge_head", "samples"] > 0  # the client was asked once more


def test_only_a_strategy_that_needs_sums_pays_for_asking_them_anew(tmp_path):
    """Training gathers them once for all; what one strategy needs is no other's cost."""
    names = ["none", "finetune", "ridge_head"]
    request = Request(frozenset({1}), 4, RandomShare(0.4))
    together = carried_out(asked(request, names=names), tmp_path / "all").set_index("strategy")
    for name in names:
        alone = carried_out(asked(request, names=[name]), tmp_path / name).set_index("strategy")
        costs = ["bytes_down", "bytes_up", "client_epochs", "samples"]
        assert together.loc[name, costs].equals(alone.loc[name, costs]), name
