"""Escalation: the cheapest strategy that passes the server's test, at the cost of all tried."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.data import (
    LabelNoise,
    NoPlanting,
    PlantedRecords,
    RandomShare,
    build_federation,
)
from fedunlearn.experiment import estimate, prepare, run
from fedunlearn.history import Needs
from fedunlearn.local import LocalWork
from fedunlearn.unlearning import (
    SERVER_ID,
    Access,
    FedAdam,
    NoRecovery,
    Request,
    ScopedClients,
    Training,
    forget,
)
from strategies.escalate import Escalate
from strategies.exact_rollback import ExactRollback
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.retrain import Retrain
from strategies.sifu import Sifu
from tests.support.folder_contents import contents
from tests.support.small_experiment import SMALL, carried_out
from tests.support.tested_world import LEAVER, OWN, TRIGGERS, Shift, axis, sets, trained
from tests.support.world import D


def served(state, clients, strategy, needs=None):
    """Return all models after the request, and where the federation stands."""
    steps = forget(state, LEAVER, strategy, NoRecovery(), clients, needs or strategy.needs)
    models = []
    while True:
        try:
            models.append(next(steps).weights)
        except StopIteration as stop:
            return models[1:], stop.value


def of_clients(ledger):
    return [
        (c.client, c.bytes_down, c.bytes_up, c.samples, c.records)
        for c in ledger
        if c.client != SERVER_ID
    ]


def test_it_ends_with_the_first_that_forgets_and_keeps_the_accuracy():
    remembers, breaks, good, never = Shift(0.2), Shift(3.0), Shift(1.0), Shift(0.7)
    with trained() as (state, asked):
        clients = asked()
        models, after = served(state, clients, Escalate((remembers, breaks, good, never)))
        final = state.history.final
    expected = [final + by * axis(1) for by in (0.2, 3.0, 1.0)]
    assert all(map(torch.equal, models, expected))
    assert len(models) == 3
    assert torch.equal(after.history.final, expected[-1])


def test_every_attempt_is_what_it_is_alone_and_costs_as_much():
    """None passes: models and charges are those of all, one after another; retraining's stays."""
    parts = (FineTune(2), FedEraser(interval=2), Retrain())
    with trained(works=1e6) as (state, asked):
        clients = asked()
        models, after = served(state, clients, Escalate(parts))
        alone = [(asked(), part) for part in parts]
        each = [served(state, others, part) for others, part in alone]
    assert len(models) == sum(len(found) for found, _ in each)
    assert all(map(torch.equal, models, [model for found, _ in each for model in found]))
    assert of_clients(clients.ledger) == [c for o, _ in alone for c in of_clients(o.ledger)]
    tested = [charge.samples for charge in clients.ledger if charge.client == SERVER_ID]
    assert tested == [TRIGGERS, OWN, TRIGGERS, TRIGGERS]  # the model before, then two attempts
    assert torch.equal(after.history.final, each[-1][1].history.final)


@pytest.mark.parametrize(("works", "redone"), [(0.0, False), (1e6, True)])
def test_only_the_attempt_that_stands_replaces_rounds(works, redone):
    strategy, needs = Escalate((Shift(1.0), Retrain())), Needs(models=True)
    with trained(needs, works=works) as (state, asked):
        if works == 0.0:  # the trigger works on the model before alone
            found = sets(state.history.final, works=0.1)
        _, after = served(state, asked(found if works == 0.0 else None), strategy, needs)
        _, other = served(state, asked(), Retrain() if redone else Shift(1.0), needs)
    numbers = [kept.number for kept in other.history]
    assert [kept.number for kept in after.history] == numbers
    pairs = zip(after.history, other.history, strict=True)
    assert all(torch.equal(one.before, two.before) for one, two in pairs)


def test_a_trigger_that_never_worked_proves_nothing():
    with trained(works=-1.0) as (state, asked):
        models, after = served(state, asked(), Escalate((Shift(1.0), FineTune(1), Retrain())))
        again, wanted = served(state, asked(), Retrain())
    assert len(models) == len(again)
    assert torch.equal(after.history.final, wanted.history.final)


def test_an_attempt_without_models_leaves_the_model_as_it_was():
    with trained() as (state, asked):
        models, after = served(state, asked(), Escalate((Shift(3.0), Nothing())))
    assert torch.equal(after.history.final, state.history.final)
    assert len(models) == 2


def test_the_leaver_whose_trigger_works_best_decides():
    with trained() as (state, asked):
        final = state.history.final
        two = sets(final, works=0.5)
        two["triggered/1"], two["triggered/2"] = two.pop("triggered"), sets(final, works=0.9)
        two["triggered/2"] = two["triggered/2"]["triggered"]
        models, _ = served(state, asked(two), Escalate((Shift(0.7), Shift(1.0), Shift(3.0))))
    assert len(models) == 2


def test_a_model_of_nan_has_forgotten_nothing_well():
    with trained() as (state, asked):
        models, _ = served(state, asked(), Escalate((Shift(float("nan")), Shift(1.0), Retrain())))
    assert len(models) == 2


@pytest.mark.parametrize(
    ("strategies", "said"),
    [
        ((), "strategies must list one strategy or more"),
        ((Retrain(), FineTune()), r"strategies\[0\] runs training rounds again"),
        ((FineTune(), ExactRollback(), Retrain()), r"strategies\[1\] runs training rounds again"),
        (("retrain",), r"strategies\[0\] must be a part with a _target_"),
    ],
)
def test_lists_that_cannot_be(strategies, said):
    with pytest.raises(Refused, match=said):
        Escalate(strategies)


@pytest.mark.parametrize("limits", [{"forgotten": 1.0}, {"forgotten": -0.1}, {"utility": 1.1}])
def test_limits_out_of_their_range(limits):
    with pytest.raises(Refused, match=f"Escalate.{next(iter(limits))} must be"):
        Escalate((Retrain(),), **limits)


def test_what_was_not_declared_is_not_handed_over():
    with trained() as (_, asked):
        clients = asked().scoped(Access(frozenset({0, 2}), Needs(remaining=True), LEAVER))
        with pytest.raises(PermissionError, match="verifies=True"):
            clients.verifier  # noqa: B018
        with pytest.raises(PermissionError, match="must declare all"):
            clients.narrowed(Needs(leaver=True))
        narrow = clients.narrowed(Needs())
        with pytest.raises(PermissionError, match="remaining=True"):
            narrow.train(torch.zeros(D), round=1)


ESCALATE = Escalate((FineTune(1), Retrain()))
MARKED = replace(SMALL, strategies={"escalate": ESCALATE})


def rows(records):
    return {row.numpy().tobytes() for row in records.inputs}


def test_the_server_tests_on_what_it_owns_alone():
    """No record of a client, none on which a run is evaluated; the trigger is all it is told."""
    here = build_federation(MARKED.scenario(0))
    found = here.verification_sets(1)
    assert sorted(found) == ["labelled", "triggered"]
    own, marked = found["labelled"], found["triggered"]
    assert torch.equal(own.inputs, here.proxy)
    others = own.take(own.labels != MARKED.planting.target)
    assert torch.equal(marked.inputs, MARKED.planting.stamp(others.inputs, 0))
    assert set(marked.labels.tolist()) == {MARKED.planting.target}
    for name, evaluated in here.request_sets(1).items():
        if name != "forget":  # a leaver's planted records may equal another's with the trigger
            assert not rows(own) & rows(evaluated), name
    assert not any(rows(own) & rows(records) for records in here.clean)


@pytest.mark.parametrize(
    "changes",
    [
        {"planting": NoPlanting()},
        {"planting": LabelNoise()},
        {"requests": (Request(LEAVER, 4, RandomShare(0.5)),)},
        {"requests": (Request(LEAVER, 2, PlantedRecords()), Request(LEAVER, 4))},
    ],
)
def test_without_a_marker_it_is_refused_before_training(changes):
    with pytest.raises(Refused, match="strategy=escalate tests on the server whether the trigger"):
        prepare(replace(MARKED, **changes), [0])


@pytest.mark.parametrize("scope", [PlantedRecords(), RandomShare(1.0)])
def test_scopes_that_take_the_whole_marker_are_served(scope):
    prepare(replace(MARKED, requests=(Request(LEAVER, 4, scope),)), [0])


def test_without_records_of_the_server_it_is_refused():
    with pytest.raises(Refused, match="escalate needs labelled records on the server, but proxy=0"):
        replace(MARKED, proxy=0.0)


def test_what_it_runs_is_checked_as_if_it_stood_alone():
    training, parts = replace(MARKED.training, server=FedAdam()), Escalate((FineTune(), Sifu()))
    with pytest.raises(Refused, match=r"strategy=escalate \(Sifu\) certifies what it does for pla"):
        replace(MARKED, training=training, strategies={"escalate": parts})


class Died(BaseException):
    """A process that ends."""


@pytest.mark.slow
@pytest.mark.parametrize("calls", [2, 5, 8])  # in the reference, the first and the last attempt
def test_killed_in_any_attempt_it_ends_the_same(calls, tmp_path, monkeypatch):
    experiment = replace(MARKED, strategies=MARKED.strategies, checkpoint=0)
    folders = tmp_path / "whole", tmp_path / "killed"
    carried_out(experiment, folders[0])
    real, left = ScopedClients.train, [calls]

    def dying(*args, **kwargs):
        if kwargs["round"] and args[0].ledger.moment.phase == "unlearn":
            left[0] -= 1
            if left[0] == 0:
                raise Died
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ScopedClients, "train", dying)
        with pytest.raises(Died):
            carried_out(experiment, folders[1])
    console = Console(file=io.StringIO())
    run(experiment, (0,), folders[1], {"a": 1}, console, resume=True)
    whole, again = map(contents, folders)
    assert [name for name in whole if whole[name] != again[name]] == []


@pytest.mark.slow
def test_estimates_count_all_attempts(tmp_path):
    """Where only the last is good, a run costs what was estimated, the server's tests included."""
    never = replace(MARKED, training=Training(rounds=8, work=LocalWork(epochs=2)))
    never = replace(never, requests=(Request(LEAVER, 8),))
    summary = carried_out(never, tmp_path)
    costs = estimate.estimate(never, (0,), estimate.Pace(1.0, 1e6, 5, 20, 0.0))
    found = costs[costs.strategy == "escalate"].iloc[-1]
    spent = summary[summary.strategy == "escalate"].iloc[-1]
    for name in ("bytes_down", "bytes_up", "client_epochs", "samples", "rounds"):
        assert found[name] == spent[name], name
