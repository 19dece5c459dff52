import inspect
import io
import math
import re
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from rich.console import Console

import conf
from fedunlearn.data import Records
from fedunlearn.evaluators import Snapshot
from fedunlearn.experiment.progress import Progress
from fedunlearn.local import LocalWork, Sgd, train_locally
from fedunlearn.models import Mlp, Network
from fedunlearn.results import (
    CARDS,
    METRIC_COLUMNS,
    Card,
    card_or_plain,
    judge,
    metric_cards,
    normalised,
    overall,
    printed_summary,
)
from fedunlearn.results.certificates.thresholds import Thresholds, gap_columns, judged
from fedunlearn.results.plots.against_rounds import panels
from fedunlearn.results.report.standings import standings
from fedunlearn.unlearning import Moment
from tests.support.evaluated import CLASSES, randomly

GLOSSARY = Path(__file__).parents[2] / "docs" / "metrics.md"
DEFAULT, FULL = (
    Path(conf.__file__).parent / "evaluators" / f"{name}.yaml" for name in ("default", "full")
)
COSTS = ["bytes_down", "bytes_up", "client_epochs", "samples", "rounds", "seconds", "store_bytes"]
NAMES = ("test", "forget", "forget_clean", "forget_heldout", "triggered", "group", "retained/1")
EARLIER = ("earlier/1", "earlier_triggered/1")


def _measure(model, retrained):
    """Everything that the evaluators of all configurations say."""
    values = {}
    default, full = (yaml.safe_load(path.read_text()) for path in (DEFAULT, FULL))
    for measure in [*default["measures"], *full["final"]]:
        mine = _built(measure)()(model, retrained)
        assert not mine.keys() & values.keys()
        values |= mine
    return values


def _built(measure):
    module, name = measure["_target_"].rsplit(".", 1)
    return getattr(import_module(module), name)


@cache
def _measured(weights, batch_size=1000):
    network = Network(Mlp(hidden=(8,)), (1, 1, CLASSES), CLASSES)
    sets = {name: randomly(60, seed=i) for i, name in enumerate(NAMES + EARLIER)}
    forget = sets["forget"].inputs
    sets["forget"] = Records(forget, forget.flatten(1).argmax(dim=1))  # what can be learnt anew
    original, model, retrained = (
        Snapshot(network, chosen(network), sets, network.initial(0), batch_size)
        for chosen in (_trained(sets["forget"]), weights, _net(1))
    )
    members = {"members/1": randomly(60, seed=len(sets))}
    original = replace(original, further=lambda: members)
    model = replace(model, original=original, further=lambda: members)
    return _measure(model, retrained)


@cache
def _net(seed):
    return lambda network: network.initial(seed)


def _trained(records):
    work = LocalWork(epochs=30, optimizer=Sgd(lr=0.1, momentum=0.0))
    known, rng = (records.inputs, records.labels, work, 1), np.random.default_rng(0)
    return lambda network: train_locally(network, network.initial(4), *known, rng).weights


def _diverged(network):
    return torch.full_like(network.initial(0), math.nan)


def test_cards_name_what_the_evaluators_return_in_the_same_order():
    assert list(CARDS) == list(overall(_measured(_net(2))))
    assert all(name == card.name for name, card in CARDS.items())


def test_the_glossary_has_one_entry_for_each_metric_in_the_same_order():
    assert re.findall(r"^### `(\w+)`$", GLOSSARY.read_text(), re.MULTILINE) == list(CARDS)


def test_every_glossary_entry_says_its_range_what_is_good_and_a_pitfall():
    entries = re.split(r"^##+ ", GLOSSARY.read_text(), flags=re.MULTILINE)
    for entry in entries:
        if entry.startswith("`"):
            assert re.search(r"In \[|At least 0", entry), entry
            assert "Pitfall" in entry, entry
            better = CARDS[entry.split("`")[1]].better
            plain = " ".join(entry.split())
            said = "equality with the retrained model is the goal" in plain
            assert said == (better == "retrained"), entry
            if better != "retrained":
                assert re.search(rf"\b{better}\b", plain), entry


def test_the_glossary_lists_the_cost_columns():
    costs = GLOSSARY.read_text().split("## Costs")[1]
    assert re.findall(r"^\| `(\w+)`", costs, re.MULTILINE) == COSTS


def test_labels_tell_metrics_apart():
    assert len({card.label for card in CARDS.values()}) == len(CARDS)
    assert len({card.meaning for card in CARDS.values()}) == len(CARDS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_values_are_plain_numbers_within_the_bounds_of_their_cards(seed):
    for name, value in _measured(_net(seed)).items():
        card = metric_cards.card(name)
        assert card.name == name
        assert type(value) is float
        assert card.lower_bound <= value <= card.upper_bound


def test_streaming_over_batches_equals_one_batch():
    assert _measured(_net(2), batch_size=7) == pytest.approx(_measured(_net(2)), abs=1e-6)


def test_a_model_that_diverged_is_right_nowhere_and_at_no_distance():
    counted = re.compile("accuracy|attack_success_rate|agreement")
    for name, value in _measured(_diverged).items():
        assert value == 0 if counted.search(name) else math.isnan(value), name


def test_what_is_of_one_client_or_layer_alone_is_told_apart_and_named():
    values = _measured(_net(2))
    assert {"retained_accuracy/1", "forget_cka/1", "forget_cka/3"} <= values.keys()
    assert values.keys() - overall(values).keys() == {name for name in values if "/" in name}
    one = metric_cards.card("retained_accuracy/1")
    assert one.label == "Accuracy of remaining clients: 1"
    assert one.better == CARDS["retained_accuracy"].better
    assert metric_cards.card("test_loss") is CARDS["test_loss"]
    with pytest.raises(KeyError):
        metric_cards.card("nothing/1")


def test_the_full_configuration_measures_what_the_default_one_does():
    default, full = (yaml.safe_load(path.read_text()) for path in (DEFAULT, FULL))
    assert full["defaults"] == ["default", "_self_"]
    assert "measures" not in full
    for measure in full["final"]:
        fields = set(inspect.signature(_built(measure)).parameters)
        assert measure.keys() - {"_target_"} == fields
    assert [measure for measure in default["final"] if measure not in full["final"]] == []


@pytest.fixture
def made_up(monkeypatch):
    """A metric of a new evaluator, known by its one card."""
    name = "forget_surprise"
    facts = {"lower_bound": 0, "upper_bound": 1, "meaning": "How surprised the model is."}
    shown = {"heading": "Sur-\nprise %", "title": "Surprise (%)", "progress": "surprise"}
    flags = {"percent": True, "about_leavers": True, "panel": True, "chief": True}
    goal = {"better": "retrained", "remembered": "lower"}
    new = Card(name=name, label="Surprise", **goal, **facts, **shown, **flags)
    monkeypatch.setitem(metric_cards._BY_NAME, name, new)
    return new


def test_one_card_makes_a_new_metric_known_everywhere(made_up):
    name, gap = made_up.name, f"{made_up.name}_gap"
    rows = [
        {
            **dict.fromkeys(COSTS, 1),
            **{"seed": seed, "strategy": strategy, "request": 1, "clients": "0", "probe": ""},
            **{name: value + seed / 1000, gap: value - 0.5},
        }
        for strategy, value in (("retrain", 0.5), ("retrain-2", 0.501), ("ours", 0.1))
        for seed in range(4)
    ]
    summary = pd.DataFrame(rows)

    table = Console(width=100, file=io.StringIO(), record=True)
    table.print(printed_summary(summary))
    printed = table.export_text()
    assert "Sur-" in printed
    assert "10.2" in printed
    found = judge(summary)
    assert found.loc[found.strategy == "ours", "verdict"].tolist() == ["under-forgotten"]
    assert panels(summary) == [name]
    assert standings(summary, found, ["ours"], 1).headings[1] == "Surprise (%)"

    largest = {gap: 0.05}
    judged_row = {m.metric: m for m in judged(rows[-1], rows, Thresholds(largest))}[name]
    assert judged_row.verdict == "exceeded"
    assert judged_row.retrained == pytest.approx(0.5035)

    lines = Console(width=200, file=io.StringIO(), record=True)
    with Progress(1, lines) as progress:
        progress.advance(0, "ours", Moment("unlearn", 1, 1), {name: 0.25}, 0)
        progress.say()
    assert "surprise 25.0%" in lines.export_text()


def test_a_comparison_that_its_card_declares_has_no_gap_but_a_distance(made_up, monkeypatch):
    assert f"{made_up.name}_gap" in gap_columns()
    compares = replace(made_up, compares=True, distance=True, judged=False)
    monkeypatch.setitem(metric_cards._BY_NAME, made_up.name, compares)
    assert f"{made_up.name}_gap" not in gap_columns()
    moments = [(0, "ours", 1, "unlearn", n, made_up.name, 1 - n / 4) for n in range(3)]
    table = normalised(pd.DataFrame(moments, columns=list(METRIC_COLUMNS)))
    assert table[["metric", "original", "distance"]].values.tolist() == [[made_up.name, 1.0, 0.5]]


def test_a_metric_without_a_card_is_a_plain_number_that_retraining_is_the_goal_of():
    plain = card_or_plain("my_accuracy/3")
    assert (plain.better, plain.percent, plain.judged) == ("retrained", False, True)
    assert (plain.lower_bound, plain.upper_bound) == (-math.inf, math.inf)
    assert card_or_plain("test_loss") is CARDS["test_loss"]


def test_facts_on_a_card_fit_together():
    for card in CARDS.values():
        assert not card.distance or (card.compares and card.better == "lower"), card
        assert card.remembered is None or card.about_leavers, card
        assert not card.title or card.panel, card
        assert (card.better == "retrained") <= (not card.compares or card.name == "anamnesis_index")
