"""A federation with frozen parts: only what trains is sent, and the rest never moves."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.data import build_federation
from fedunlearn.flower import Local
from fedunlearn.local import LocalWork, ridge_sums
from fedunlearn.methods import ridge
from fedunlearn.models import Head
from fedunlearn.unlearning import Training
from tests.support.frozen_parts import Quadrants, WideFrozen
from tests.support.small_federation import SMALL, bytes_of, train_small

TRAINING = Training(rounds=2, work=LocalWork(epochs=1))
OVERHEAD = 4096
"""Bytes of a message besides its model."""


@pytest.mark.parametrize("mode", ["workers", "cohort"])
@pytest.mark.parametrize("model", [Quadrants(), WideFrozen()])
def test_bytes_count_only_what_trains(model, mode):
    scenario = replace(SMALL, model=model)
    layout = build_federation(scenario).network.layout
    assert layout.size == {Quadrants: 16, WideFrozen: 256}[type(model)] * 10 + 10
    before = {name: each.clone() for name, each in layout.constants.items()}
    weights, ledger = train_small(Local(mode=mode), TRAINING, scenario)
    assert weights.shape == (layout.size,)
    for _, down, up, _ in bytes_of(ledger):
        assert 4 * layout.size <= up < 4 * layout.size + OVERHEAD
        assert 4 * layout.size <= down < 4 * layout.size + OVERHEAD
    assert all(torch.equal(layout.constants[name], each) for name, each in before.items())
    assert (len(before) > 0) == isinstance(model, WideFrozen)


def test_a_ridge_head_on_features_forgets_by_subtraction_exactly():
    here = build_federation(replace(SMALL, model=Quadrants()))
    head = Head.of(here.network.layout)
    sums = [ridge_sums.sums(here.network, here.initial, r.inputs, r.labels) for r in here.train]
    forgotten = ridge.solve(sum(sums) - sums[1], 0.01)
    stays = [records for client, records in enumerate(here.train) if client != 1]
    features = torch.cat([each.inputs for each in stays]).double()
    inputs = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], 1)
    wanted = torch.nn.functional.one_hot(torch.cat([each.labels for each in stays]), 10).double()
    square = inputs.T @ inputs + 0.01 * torch.eye(17, dtype=torch.float64)
    expected = torch.linalg.solve(square, inputs.T @ wanted)
    torch.testing.assert_close(forgotten, expected, rtol=1e-6, atol=1e-9)
    weights = head.put(here.initial, forgotten)
    test = here.dataset.test
    accuracy = (here.network(weights, test.inputs).argmax(1) == test.labels).float().mean()
    assert accuracy > 0.5
