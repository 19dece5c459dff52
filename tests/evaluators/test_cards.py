import math
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

import conf
from fedunlearn.evaluators.cards import METRICS
from fedunlearn.evaluators.snapshot import Snapshot
from fedunlearn.models import Mlp, Network
from tests.evaluators.worlds import CLASSES, randomly

GLOSSARY = Path(__file__).parents[2] / "docs" / "metrics.md"
DEFAULT = Path(conf.__file__).parent / "evaluators" / "default.yaml"
COSTS = ["bytes_down", "bytes_up", "client_epochs", "samples", "rounds", "seconds", "store_bytes"]
NAMES = ("test", "forget", "forget_clean", "forget_heldout", "triggered", "retained/1")


def _measure(model, retrained):
    """Everything that the evaluators of the default configuration say."""
    values = {}
    for measure in yaml.safe_load(DEFAULT.read_text())["measures"]:
        module, name = measure["_target_"].rsplit(".", 1)
        mine = getattr(import_module(module), name)()(model, retrained)
        assert not mine.keys() & values.keys()
        values |= mine
    return values


def _measured(weights, batch_size=1000):
    network = Network(Mlp(hidden=(8,)), (1, 1, CLASSES), CLASSES)
    sets = {name: randomly(60, seed=i) for i, name in enumerate(NAMES)}
    model, retrained = (
        Snapshot(network, chosen(network), sets, network.initial(0), batch_size)
        for chosen in (weights, _net(1))
    )
    return _measure(model, retrained)


def _net(seed):
    return lambda network: network.initial(seed)


def _diverged(network):
    return torch.full_like(network.initial(0), math.nan)


def test_cards_name_what_the_evaluators_return_in_the_same_order():
    assert list(METRICS) == list(_measured(_net(2)))
    assert all(name == card.name for name, card in METRICS.items())


def test_the_glossary_has_one_entry_for_each_metric_in_the_same_order():
    assert re.findall(r"^### `(\w+)`$", GLOSSARY.read_text(), re.MULTILINE) == list(METRICS)


def test_every_glossary_entry_says_its_range_what_is_good_and_a_pitfall():
    entries = re.split(r"^##+ ", GLOSSARY.read_text(), flags=re.MULTILINE)
    for entry in entries:
        if entry.startswith("`"):
            assert re.search(r"In \[|At least 0", entry), entry
            assert "Pitfall" in entry, entry
            better = METRICS[entry.split("`")[1]].better
            plain = " ".join(entry.split())
            said = "equality with the retrained model is the goal" in plain
            assert said == (better == "retrained"), entry
            if better != "retrained":
                assert re.search(rf"\b{better}\b", plain), entry


def test_the_glossary_lists_the_cost_columns():
    costs = GLOSSARY.read_text().split("## Costs")[1]
    assert re.findall(r"^\| `(\w+)`", costs, re.MULTILINE) == COSTS


def test_labels_tell_metrics_apart():
    assert len({card.label for card in METRICS.values()}) == len(METRICS)
    assert len({card.meaning for card in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_values_are_plain_numbers_within_the_bounds_of_their_cards(seed):
    for name, value in _measured(_net(seed)).items():
        card = METRICS[name]
        assert type(value) is float
        assert card.lower_bound <= value <= card.upper_bound


def test_streaming_over_batches_equals_one_batch():
    assert _measured(_net(2), batch_size=7) == pytest.approx(_measured(_net(2)), abs=1e-6)


def test_a_model_that_diverged_is_right_nowhere_and_at_no_distance():
    counted = re.compile("accuracy|attack_success_rate|agreement")
    for name, value in _measured(_diverged).items():
        assert value == 0 if counted.search(name) else math.isnan(value), name
