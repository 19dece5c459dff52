"""A budget of damage: retraining serves the request before which the budget was spent."""

import io
from dataclasses import replace

import pandas as pd
import pytest
import torch
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.data import NoPlanting, build_federation
from fedunlearn.experiment import estimate, prepare, run
from fedunlearn.history import Needs
from fedunlearn.unlearning import (
    SERVER_ID,
    FedAdam,
    Join,
    NoRecovery,
    Request,
    ScopedClients,
    forget,
)
from strategies.budgeted import Budgeted
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.retrain import Retrain
from strategies.sifu import Sifu
from tests.support.folder_contents import contents
from tests.support.small_experiment import SMALL, carried_out
from tests.support.tested_world import OWN, TRIGGERS, Shift, axis, sets, trained

EVERYTHING = Needs(updates=True, models=True)


def served(state, clients, strategy, who):
    """Return all models of one client's request, and where the federation stands."""
    steps = forget(state, frozenset({who}), strategy, NoRecovery(), clients, EVERYTHING)
    models = []
    while True:
        try:
            models.append(next(steps).weights)
        except StopIteration as stop:
            return models[1:], stop.value


def forgotten_earlier(original):
    """The triggers of all who asked before, which work until a model was moved by half."""
    return lambda number: {"triggered": sets(original)["triggered"]} if number > 1 else {}


def in_turn(state, clients, strategy, leavers=(1, 2, 3)):
    """Serve requests one after another; return the models of each, and where it stands."""
    models, states = [], [state]
    for who in leavers:
        found, after = served(states[-1], clients, strategy, who)
        models.append(found)
        states.append(after)
    return models, states[1:]


def test_damage_adds_up_until_one_request_is_served_by_retraining():
    """Shifts of 1.2: the labelled records are right up to 2.0, so the third request finds none."""
    strategy = Budgeted(Shift(1.2))
    with trained() as (state, asked):
        final = state.history.final
        clients = asked(earlier=forgotten_earlier(final))
        models, states = in_turn(state, clients, strategy)
        retrained, wanted = served(states[1], asked(), Retrain(), 3)
    assert torch.equal(models[0][0], final + 1.2 * axis(1))
    assert torch.equal(models[1][0], final + 1.2 * axis(1) + 1.2 * axis(1))
    assert len(models[2]) == len(retrained) == state.round
    assert all(map(torch.equal, models[2], retrained))
    notes = [after.history.notes for after in states]
    assert notes[0] == notes[1] == {"accuracy": 1.0}
    assert notes[2]["retrained"] == state.round
    pairs = zip(states[2].history, wanted.history, strict=True)
    assert all(torch.equal(one.before, two.before) for one, two in pairs)


def test_the_budget_begins_anew_with_the_model_retrained():
    """The retrained model lacks much; next to it the following request finds no damage."""
    with trained(breaks=0.01) as (state, asked):
        final = state.history.final
        clients = asked(earlier=lambda number: {})
        strategy = Budgeted(Shift(0.1), {"accuracy_loss": 0.5})
        models, states = in_turn(state, clients, strategy)
        lacking = asked().scoped(clients.access).channel.proxy.verifier(1)
        noted = states[1].history.notes["accuracy"]
        assert noted == lacking.accuracy(models[1][-1])
    assert [len(found) for found in models] == [1, state.round, 1]
    assert noted < 0.5  # what the shared limit would call spent next to the first model
    assert torch.equal(models[0][0], final + 0.1 * axis(1))
    assert states[2].history.notes == states[1].history.notes


def test_who_left_before_and_comes_back_spends_the_budget():
    """A shift of 0.3 leaves the triggers working, which work up to 0.5."""
    with trained() as (state, asked):
        clients = asked(earlier=forgotten_earlier(state.history.final))
        kept, _ = in_turn(state, clients, Budgeted(Shift(0.3)), (1, 2))
        free, _ = in_turn(state, clients, Budgeted(Shift(0.3), {"accuracy_loss": 0.05}), (1, 2))
        far, _ = in_turn(state, clients, Budgeted(Shift(0.7)), (1, 2))
    assert [len(found) for found in kept] == [1, state.round]
    assert [len(found) for found in free] == [len(found) for found in far] == [1, 1]


def test_a_limit_of_one_is_none_and_a_model_of_nan_is_beyond_any_other():
    with trained() as (state, asked):
        clients = asked(earlier=forgotten_earlier(state.history.final))
        limits = {"attack_success": 1.0, "accuracy_loss": 1.0}
        never, _ = in_turn(state, clients, Budgeted(Shift(5.0), limits))
        ruined, _ = in_turn(state, clients, Budgeted(Shift(float("nan"))), (1, 2))
    assert [len(found) for found in never] == [1, 1, 1]
    assert [len(found) for found in ruined] == [1, state.round]


def test_what_it_costs_is_what_was_run_and_the_server_s_tests():
    def of_clients(ledger):
        return [
            (c.client, c.bytes_down, c.bytes_up, c.samples) for c in ledger if c.client != SERVER_ID
        ]

    part = FedEraser(interval=2)
    with trained(works=1e6) as (state, asked):
        earlier = {"triggered": sets(state.history.final, works=1e6)["triggered"]}
        clients = asked(earlier=lambda number: earlier if number > 1 else {})
        models, states = in_turn(state, clients, Budgeted(part), (1, 2))
        alone, again = asked(), asked()
        first, _ = served(state, alone, part, 1)
        second, _ = served(states[0], again, Retrain(), 2)
    assert all(map(torch.equal, models[0] + models[1], first + second))
    assert of_clients(clients.ledger) == of_clients(alone.ledger) + of_clients(again.ledger)
    tested = [charge.samples for charge in clients.ledger if charge.client == SERVER_ID]
    assert tested == [OWN, OWN, TRIGGERS, OWN]  # before each request; then the retrained model


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"limits": {}}, "limits must name one of attack_success, accuracy_loss"),
        ({"limits": {"acuracy_loss": 0.1}}, "does not exist; did you mean accuracy_loss"),
        ({"limits": {"accuracy_loss": 1.5}}, "limits.accuracy_loss must be a number at least 0"),
        ({"strategy": "federaser"}, "Budgeted.strategy must be a part with a _target_"),
    ],
)
def test_values_that_cannot_be(values, said):
    with pytest.raises(Refused, match=said):
        Budgeted(**values)


def test_nothing_is_noted_but_while_a_request_is_served():
    with trained() as (_, asked), pytest.raises(PermissionError, match="while a request is served"):
        asked().note("accuracy", 1.0)


BUDGETED = replace(
    SMALL,
    strategies={"budgeted": Budgeted(Nothing())},
    requests=(Request(frozenset({1}), 3), Request(frozenset({2}), 4)),
)


def test_the_server_tests_earlier_leavers_who_stay_away_by_their_own_triggers():
    here = build_federation(BUDGETED.scenario(0))
    assert here.earlier_verification_sets(1) == {}
    (found,) = here.earlier_verification_sets(2).values()
    (first,) = (v for n, v in here.verification_sets(1).items() if n.startswith("triggered"))
    assert torch.equal(found.inputs, first.inputs)
    assert torch.equal(found.labels, first.labels)
    back = replace(BUDGETED, joins=(Join(frozenset({1}), 3),))
    assert build_federation(back.scenario(0)).earlier_verification_sets(2) == {}


def test_refusals_are_those_of_what_it_may_run_and_of_the_test():
    with pytest.raises(Refused, match="strategy=budgeted tests on the server whether the trigger"):
        prepare(replace(BUDGETED, planting=NoPlanting()), [0])
    with pytest.raises(Refused, match="budgeted needs labelled records on the server"):
        replace(BUDGETED, proxy=0.0)
    training = replace(SMALL.training, server=FedAdam())
    with pytest.raises(Refused, match=r"strategy=budgeted \(Sifu\) certifies"):
        replace(SMALL, training=training, strategies={"budgeted": Budgeted(Sifu())})


class Died(BaseException):
    """A process that ends."""


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 3])
def test_killed_while_it_retrains_it_ends_the_same_and_says_when_it_did(
    calls, tmp_path, monkeypatch
):
    """Nothing forgets the first leaver, so the second request is served by retraining."""
    budget = {"attack_success": 0.0, "accuracy_loss": 0.05}
    strategies = {"budgeted": Budgeted(FineTune(1), budget)}
    experiment = replace(BUDGETED, strategies=strategies, checkpoint=0)
    folders = tmp_path / "whole", tmp_path / "killed"
    carried_out(experiment, folders[0])
    rows = pd.read_csv(folders[0] / "requests.csv", keep_default_na=False)
    mine = rows[rows["strategy"] == "budgeted"]
    assert "retrained" not in mine["notes"].iloc[0]
    assert mine["notes"].iloc[1].endswith("retrained=4")
    assert list(mine["unlearning_rounds"]) == [1, 4]
    assert set(rows[rows["strategy"] != "budgeted"]["notes"]) == {""}
    real, left = ScopedClients.note, [calls]

    def dying(*args):
        left[0] -= 1
        if left[0] == 0:
            raise Died
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(ScopedClients, "note", dying)
        with pytest.raises(Died):
            carried_out(experiment, folders[1])
    run(experiment, (0,), folders[1], {"a": 1}, Console(file=io.StringIO()), resume=True)
    whole, again = map(contents, folders)
    assert [name for name in whole if whole[name] != again[name]] == []


@pytest.mark.slow
def test_estimates_count_retraining_from_the_second_request_on(tmp_path):
    budget = {"attack_success": 0.0, "accuracy_loss": 0.05}
    experiment = replace(BUDGETED, strategies={"budgeted": Budgeted(FineTune(1), budget)})
    summary = carried_out(experiment, tmp_path)
    costs = estimate.estimate(experiment, (0,), estimate.Pace(1.0, 1e6, 5, 20, 0.0))
    found = costs[(costs.strategy == "budgeted") & (costs.phase == "unlearn")]
    spent = summary[summary.strategy == "budgeted"]
    for name in ("bytes_down", "bytes_up", "client_epochs", "samples", "rounds"):
        assert list(found[name]) == list(spent[name]), name
