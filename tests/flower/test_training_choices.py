"""What training may be besides plain averaging gives the same weights in every engine."""

import pytest
import torch

from fedunlearn.flower import Local, Ray
from fedunlearn.local import CrossEntropy, ImageAugmentation, LocalWork, Schedule, Sgd, Straggling
from fedunlearn.unlearning import FedDyn, Scaffold, Training
from tests.support.small_federation import bytes_of, train_small

AUGMENTED = ImageAugmentation(shift=1, cutout=2, noise=0.05)
CHOICES = {
    "scheduled": Training(
        rounds=3, work=LocalWork(epochs=1, schedule=Schedule("cosine", warmup=1, rounds=2))
    ),
    "augmented": Training(rounds=2, work=LocalWork(epochs=2, augmentation=AUGMENTED)),
    "weighed, smoothed and clipped": Training(
        rounds=2,
        work=LocalWork(
            epochs=1,
            class_weights="balanced",
            clip_norm=0.5,
            objective=CrossEntropy(label_smoothing=0.1),
        ),
    ),
    "scaffold": Training(
        rounds=3,
        cohort=0.75,
        work=LocalWork(epochs=2, optimizer=Sgd(0.05, momentum=0)),
        correction=Scaffold(),
    ),
    "dropping out and straggling": Training(
        rounds=3, dropout=0.3, work=LocalWork(epochs=3, straggling=Straggling(0.5, 0.4))
    ),
    "feddyn": Training(rounds=3, cohort=0.75, work=LocalWork(epochs=2), correction=FedDyn(0.1)),
}


@pytest.mark.parametrize(
    "engine",
    [
        Local(mode="cohort"),
        Local(mode="cohort", workers=3),
        pytest.param(Ray(), marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")]),
    ],
    ids=["cohort", "threads", "ray"],
)
@pytest.mark.parametrize("training", CHOICES.values(), ids=CHOICES)
def test_all_engines_agree(training, engine):
    alone, costs = train_small(Local(mode="workers"), training)
    there, same_costs = train_small(engine, training)
    torch.testing.assert_close(there, alone, rtol=1e-5, atol=1e-6)
    assert bytes_of(costs) == bytes_of(same_costs)
