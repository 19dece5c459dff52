"""What is frozen within a net stays bit for bit, in training, unlearning and recovery alike."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.data import build_federation
from fedunlearn.flower import Local
from fedunlearn.unlearning import Plain
from strategies.federaser import FedEraser
from strategies.pga import PGA
from tests.support.small_experiment import SMALL, SUBTRACTION, carried_out

SEEN = Counter()
"""Passes of frozen layers, by what the layer was at that moment; copies of every thread count."""


def digest(*tensors):
    return hashlib.sha256(b"".join(each.detach().numpy().tobytes() for each in tensors)).hexdigest()


class Watched(nn.Linear):
    """A layer that notes its own bits whenever something passes it."""

    def forward(self, entering):
        SEEN[digest(self.weight, self.bias)] += 1
        return super().forward(entering)


@dataclass(frozen=True)
class PartlyFrozen:
    """A net that learns before and behind a frozen layer."""

    def __call__(self, shape, classes):
        first, last = nn.Linear(64, 12), nn.Linear(10, classes)
        frozen = Watched(12, 10).requires_grad_(False)
        return nn.Sequential(nn.Flatten(), first, nn.Tanh(), frozen, nn.Tanh(), last)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["workers", "cohort", "halves"])
def test_a_frozen_layer_is_the_same_in_every_pass_of_a_run(mode, tmp_path):
    strategies = {"federaser": FedEraser(interval=2), "pga": PGA(), "subtraction": SUBTRACTION}
    engine = Local(mode=mode, workers=2, device="cpu")
    experiment = replace(
        SMALL, model=PartlyFrozen(), strategies=strategies, recovery=Plain(2), engine=engine
    )
    network = build_federation(experiment.scenario(0)).network
    assert engine.choice(network)[0] == mode
    assert network.layout.size == 64 * 12 + 12 + 10 * 10 + 10
    constants = network.layout.constants
    before = digest(*constants.values())
    SEEN.clear()
    summary = carried_out(experiment, tmp_path)
    assert set(summary["strategy"]) >= set(strategies)
    assert np.isfinite(summary["test_loss"]).all()
    assert summary["test_loss"].nunique() == len(summary)
    assert list(SEEN) == [before]
    assert SEEN[before] > 100
    assert digest(*constants.values()) == before
    assert torch.equal(network.module(0)[3].weight, constants["3.weight"])
