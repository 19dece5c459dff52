"""Work that the records do not allow is refused before anybody trains."""

from dataclasses import replace

import pytest

from fedunlearn.checks import Refused
from fedunlearn.experiment import prepare
from fedunlearn.local import ImageAugmentation, LocalWork, SensorAugmentation
from strategies.pga import PGA
from tests.support.small_experiment import SMALL


def with_work(**changes):
    return replace(SMALL, training=replace(SMALL.training, work=LocalWork(epochs=1, **changes)))


@pytest.mark.parametrize(
    ("experiment", "sentence"),
    [
        (with_work(class_weights=[1, 2]), "lists 2 numbers, but the data set has 10 classes"),
        (
            with_work(augmentation=SensorAugmentation()),
            "SensorAugmentation does not suit the data set: it changes series",
        ),
        (with_work(augmentation=ImageAugmentation(shift=8)), "less than the 8 pixels"),
        (
            replace(SMALL, strategies={"pga": PGA(work=LocalWork(class_weights=[1]))}),
            "lists 1 numbers",
        ),
    ],
    ids=["too few weights", "sensors", "a large shift", "a strategy's"],
)
def test_it_is_refused_in_a_sentence(experiment, sentence):
    with pytest.raises(Refused, match=sentence):
        prepare(experiment, [0])


def test_what_suits_is_prepared():
    prepare(with_work(class_weights="balanced", augmentation=ImageAugmentation(shift=1)), [0])
