"""A model and a data set are tried before anything trains, and what is supported is run whole."""

import json
from dataclasses import dataclass, replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.data import Dataset, Iid, NoPlanting, Records
from fedunlearn.evaluators import Utility
from fedunlearn.experiment import Evaluation, prepared
from fedunlearn.flower import Local
from fedunlearn.local import LocalWork
from fedunlearn.unlearning import Request, Training
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from tests.support.model_kinds import CLASSES, REFUSED, SHAPE, SUPPORTED, Built, Counted
from tests.support.small_experiment import SMALL, carried_out


@dataclass(frozen=True)
class Squares:
    """Noise whose brightest corner is its label; ``times`` and ``shift`` spoil it."""

    times: float = 1.0
    shift: int = 0

    def load(self):
        noise = torch.Generator().manual_seed(0)
        labels = torch.arange(120) % CLASSES
        images = torch.rand(120, *SHAPE, generator=noise) / 2
        images[torch.arange(120), 0, labels, labels] = 1.0
        records = Records(images * self.times, labels + self.shift)
        return Dataset(records, records.take(torch.arange(30)), ("a", "b", "c"))


def experiment(kind, **changed):
    return replace(
        SMALL,
        dataset=Squares(),
        partition=Iid(clients=3),
        planting=NoPlanting(),
        model=Built(kind),
        training=Training(rounds=2, work=LocalWork(epochs=1)),
        requests=(Request(frozenset({1}), 2),),
        strategies={"finetune": FineTune(rounds=1), "federaser": FedEraser(interval=1)},
        evaluation=Evaluation((Utility(),)),
        **changed,
    )


@pytest.mark.parametrize("kind", REFUSED)
def test_a_run_refuses_a_model_before_it_writes_anything(kind, tmp_path):
    build, sentence = REFUSED[kind]
    with pytest.raises(Refused, match=sentence):
        carried_out(experiment(build), tmp_path)
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize("kind", SUPPORTED)
def test_other_models_are_prepared(kind):
    assert prepared.prepare(experiment(SUPPORTED[kind]), [0]).size > 0


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (Squares(times=255), r"dataset=Squares: pixels .* must lie in 0 … 1"),
        (Squares(times=torch.nan), r"dataset=Squares: pixels .* NaN or infinite in 120"),
        (Squares(shift=1), r"dataset=Squares: the training labels go from 1 to 3"),
    ],
)
def test_a_run_refuses_a_data_set_before_it_writes_anything(dataset, sentence, tmp_path):
    with pytest.raises(Refused, match=sentence):
        carried_out(replace(SMALL, dataset=dataset), tmp_path)
    assert not list(tmp_path.rglob("*.csv"))


class Everything(Counted):
    """Frozen parameters, integers, buffers that are not saved, and dropout."""

    def __init__(self):
        super().__init__()
        self.first.requires_grad_(False)
        self.middle, self.drop = nn.Linear(8, 8), nn.Dropout(0.3)

    def hidden(self, images):
        return self.drop(self.middle(super().hidden(images)))


def test_a_model_with_all_that_is_supported_gives_the_same_bits_in_every_mode(tmp_path):
    folders = {mode: tmp_path / mode for mode in ("workers", "cohort")}
    for mode, folder in folders.items():
        carried_out(experiment(Everything, engine=Local(workers=2, mode=mode)), folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        assert "draws random numbers in training, each client its own" in manifest["engine"]
    first, second = (pd.read_csv(folder / "metrics.csv") for folder in folders.values())
    pd.testing.assert_frame_equal(first, second)

    built = experiment(Everything).scenario(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        frozen = built.model(SHAPE, CLASSES).first.weight
    models = list((tmp_path / "workers" / "models").rglob("*.safetensors"))
    assert len(models) == 4
    for path in models:
        module = Everything()
        module.load_state_dict(load_file(path))
        assert torch.equal(module.first.weight, frozen)
