"""Work that the records do not allow is refused before anybody trains."""

from dataclasses import replace

import pytest

from fedunlearn.attacks.training_bank import train_bank
from fedunlearn.checks import Refused
from fedunlearn.experiment import prepare
from fedunlearn.local import ImageAugmentation, LocalWork, SensorAugmentation, Sgd
from fedunlearn.unlearning import FedDyn, Scaffold, Training
from strategies.exact_rollback import ExactRollback
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.fedrecover import FedRecover
from strategies.finetune import FineTune
from strategies.pga import PGA
from strategies.rapid_retrain import RapidRetrain
from strategies.retrain import Retrain
from strategies.sifu import Sifu
from tests.support.frozen_parts import Quadrants
from tests.support.recurrent import Recurrent
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
            replace(with_work(augmentation=ImageAugmentation(shift=1)), model=Quadrants()),
            "changes records anew in every round, but what the frozen part",
        ),
        (
            replace(SMALL, model=Recurrent(), strategies={**SMALL.strategies, "r": RapidRetrain()}),
            r"^r uses DiagonalFisher, which squares .*Batching rule not implemented .*gru",
        ),
        (
            replace(SMALL, strategies={"pga": PGA(work=LocalWork(class_weights=[1]))}),
            "lists 1 numbers",
        ),
    ],
    ids=["too few weights", "sensors", "a large shift", "frozen part", "squares", "a strategy's"],
)
def test_it_is_refused_in_a_sentence(experiment, sentence):
    with pytest.raises(Refused, match=sentence):
        prepare(experiment, [0])


def test_what_suits_is_prepared():
    prepare(with_work(class_weights="balanced", augmentation=ImageAugmentation(shift=1)), [0])


PLAIN = LocalWork(epochs=1, optimizer=Sgd(momentum=0))
SCAFFOLD = Training(rounds=4, work=PLAIN, correction=Scaffold())
FEDDYN = Training(rounds=4, correction=FedDyn())


@pytest.mark.parametrize(
    ("training", "strategy", "sentence"),
    [
        (SCAFFOLD, FedRecover(), "sets against work that is not corrected .*of their day"),
        (SCAFFOLD, FedEraser(), "sets against work that is not corrected"),
        (SCAFFOLD, Sifu(), "certifies what it does for plain averages only"),
        (FEDDYN, FedAccum(), "adds up what clients sent .* not the mean of what they sent"),
        (FEDDYN, FedRecover(), "Choose another strategy, or set training=fedavg"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_correction_makes_of_stored_updates_is_refused(training, strategy, sentence):
    with pytest.raises(Refused, match=sentence):
        replace(SMALL, training=training, strategies={"tried": strategy})


@pytest.mark.parametrize(
    ("training", "strategies"),
    [
        (SCAFFOLD, [Retrain(), ExactRollback(), FineTune(), FedAccum(), RapidRetrain()]),
        (FEDDYN, [Retrain(), ExactRollback(), FineTune(), RapidRetrain()]),
    ],
    ids=["scaffold", "feddyn"],
)
def test_what_it_leaves_valid_is_allowed(training, strategies):
    named = {type(each).__name__: each for each in strategies}
    assert replace(SMALL, training=training, strategies=named).strategies == named


def test_models_trained_side_by_side_know_no_correction():
    with pytest.raises(Refused, match="Attack a run without one"):
        train_bank([], None, SCAFFOLD, 3)
