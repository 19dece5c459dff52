"""Augmented records: whose they are, and nothing else, decides how they look in a round."""

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import Shards
from fedunlearn.local import (
    Distillation,
    ImageAugmentation,
    LocalWork,
    SensorAugmentation,
    train_locally,
)
from fedunlearn.local.cohort import train_cohort
from fedunlearn.local.cohort_records import shown
from fedunlearn.models import Mlp, Network, Shape
from fedunlearn.randomness import Stream, rng
from tests.support.cohorts import RAGGED, both, rngs, world

ALL = ImageAugmentation(flip=0.5, shift=2, cutout=3, noise=0.1)
IMAGES = {
    "flip": ImageAugmentation(flip=0.5),
    "shift": ImageAugmentation(shift=2),
    "cutout": ImageAugmentation(cutout=3),
    "noise": ImageAugmentation(noise=0.1),
    "all": ALL,
}


@pytest.mark.parametrize("augmentation", IMAGES.values(), ids=IMAGES)
def test_all_clients_at_once_are_one_after_another(augmentation):
    together, alone = both(LocalWork(epochs=2, augmentation=augmentation), dtype=torch.float64)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-13)
    plain = both(LocalWork(epochs=2), dtype=torch.float64)[1]
    assert not torch.allclose(alone, plain, rtol=1e-3)


@pytest.mark.parametrize(
    ("augmentation", "shape"),
    [*((each, (3, 8, 9)) for each in IMAGES.values()), (SensorAugmentation(), (20, 6))],
)
def test_what_a_record_looks_like_depends_on_nothing_but_its_place(augmentation, shape):
    inputs = torch.rand(7, *shape)
    kept = inputs.clone()
    whole = augmentation(inputs, np.random.default_rng(3))
    again = augmentation(inputs, np.random.default_rng(3))
    fewer = augmentation(inputs[:4], np.random.default_rng(3))
    assert torch.equal(whole, again)
    assert torch.equal(whole[:4], fewer)
    assert torch.equal(inputs, kept)
    assert whole.shape == inputs.shape
    assert whole.dtype == inputs.dtype
    assert not torch.equal(whole, augmentation(inputs, np.random.default_rng(4)))


def test_flips_shifts_and_squares_are_those_of_their_names():
    inputs = torch.rand(200, 1, 6, 5) + 0.1
    flipped = IMAGES["flip"](inputs, np.random.default_rng(0))
    left = (flipped == inputs).flatten(1).all(1)
    right = (flipped == inputs.flip(-1)).flatten(1).all(1)
    assert (left ^ right).all()
    assert 60 < int(left.sum()) < 140
    shifted = IMAGES["shift"](inputs, np.random.default_rng(0))
    moves = set()
    for before, after in zip(inputs[:, 0], shifted[:, 0], strict=True):
        wide = torch.nn.functional.pad(before, (2, 2, 2, 2))
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(after, wide[y : y + 6, x : x + 5])
        ]
        assert len(found) == 1
        moves.update(found)
    assert len(moves) == 25
    covered = IMAGES["cutout"](inputs, np.random.default_rng(0))
    zeros = (covered == 0).flatten(1).sum(1)
    assert 4 <= int(zeros.min()) < int(zeros.max()) == 9
    assert torch.equal(covered[covered != 0], inputs[covered != 0])
    noisy = IMAGES["noise"](inputs.clamp(0.3, 0.7), np.random.default_rng(0))
    assert float(noisy.min()) >= 0
    assert float((noisy - inputs.clamp(0.3, 0.7)).std()) == pytest.approx(0.1, rel=0.1)


def test_sensors_are_scaled_by_channel_and_jittered():
    inputs = torch.rand(50, 30, 4) + 1
    scaled = SensorAugmentation(jitter=0, scaling=0.1)(inputs, np.random.default_rng(0)) / inputs
    torch.testing.assert_close(scaled, scaled[:, :1].expand_as(scaled))
    assert float(scaled[:, 0].std()) == pytest.approx(0.1, rel=0.2)
    jitter = SensorAugmentation(jitter=0.2, scaling=0)(inputs, np.random.default_rng(0)) - inputs
    assert float(jitter.std()) == pytest.approx(0.2, rel=0.1)


def test_nobody_draws_otherwise_for_it_and_nobody_else_matters():
    network = Network(Mlp((16,)), (1, 8, 8), 10)
    records, start = world(RAGGED, network)
    shards, work = Shards.of(records), LocalWork(epochs=1, augmentation=ALL)
    everybody = shown(shards, range(7), work, rngs(7))
    few = shown(shards, [5, 2], work, [rngs(7)[5], rngs(7)[2]])
    assert torch.equal(few[0].inputs, everybody[5].inputs)
    assert torch.equal(few[1].inputs, everybody[2].inputs)
    mine, other = rng(1, Stream.CLIENT, 0, 1, 2), rng(1, Stream.CLIENT, 0, 1, 2)
    work.shown(records[0].inputs, mine)
    assert (work.order(60, mine) == LocalWork(epochs=1).order(60, other)).all()
    again = train_cohort(network, start, shards, [3], work, 1, [rngs(7)[3]]).weights
    alone = train_locally(
        network, start, records[3].inputs, records[3].labels, work, 1, rngs(7)[3]
    ).weights
    torch.testing.assert_close(again[0], alone, rtol=1e-5, atol=1e-6)


def test_rounds_and_clients_look_apart():
    inputs, work = torch.rand(5, 1, 8, 8), LocalWork(augmentation=ALL)
    seen = [
        work.shown(inputs, rng(seed, Stream.CLIENT, stage, number, client))
        for seed, stage, number, client in [
            (0, 0, 1, 0),
            (1, 0, 1, 0),
            (0, 1, 1, 0),
            (0, 0, 2, 0),
            (0, 0, 1, 1),
        ]
    ]
    for place, one in enumerate(seen):
        assert not any(torch.equal(one, other) for other in seen[place + 1 :])


@pytest.mark.parametrize(
    ("augmentation", "shape", "why"),
    [
        (ALL, Shape((12,)), "changes images"),
        (ALL, Shape((40,), torch.int64, (90,)), "changes images"),
        (ImageAugmentation(shift=8), Shape((1, 8, 8)), "less than the 8 pixels"),
        (SensorAugmentation(), Shape((1, 8, 8)), "changes series of numbers"),
        (SensorAugmentation(), Shape((12,)), "changes series of numbers"),
        (ALL, Shape((1, 8, 8)), ""),
        (SensorAugmentation(), Shape((100, 6)), ""),
    ],
)
def test_records_that_cannot_be_changed_so_are_known(augmentation, shape, why):
    found = augmentation.misfit(shape)
    assert why in found
    assert bool(why) is bool(found)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: ImageAugmentation(flip=2), "flip must be a number .* at most 1, not 2"),
        (lambda: ImageAugmentation(shift=-1), "shift must be a whole number of at least 0"),
        (lambda: SensorAugmentation(jitter=-1), "jitter must be a number at least 0"),
        (lambda: LocalWork(augmentation="flip"), "must be a part with a _target_"),
        (
            lambda: LocalWork(augmentation=ALL, objective=Distillation()),
            "augmentation must be null: a teacher answers for each record as it is",
        ),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(Refused, match=sentence):
        wrong()
