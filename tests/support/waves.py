"""Clients who leave in two waves."""

from fedunlearn.data import Dirichlet
from fedunlearn.data import NoPlanting as Unplanted
from fedunlearn.evaluators import Utility
from fedunlearn.experiment import Evaluation, Experiment
from fedunlearn.experiment.estimate import Pace
from fedunlearn.local import LocalWork
from fedunlearn.models import Mlp
from fedunlearn.unlearning import NoRecovery as NoRecovery
from fedunlearn.unlearning import Plain, Request, Training
from strategies.crab import Crab
from strategies.fast_fedul import FastFedUL
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.retrain import Retrain
from tests.support.world import FewDigits

WAVES = Experiment(
    dataset=FewDigits(480),
    partition=Dirichlet(clients=5),
    planting=Unplanted(),
    model=Mlp((8,)),
    training=Training(rounds=7, work=LocalWork(epochs=1)),
    requests=(Request(frozenset({1}), 3), Request(frozenset({3}), 6)),
    strategies={
        "federaser": FedEraser(interval=2),
        "fedaccum": FedAccum(),
        "fast_fedul": FastFedUL(),
        "crab": Crab(),
    },
    reference=Retrain(),
    evaluation=Evaluation((Utility(),)),
    recovery=Plain(rounds=1),
)


PACE = Pace(start=0.0, samples=1e9, epochs=1, rounds=1, evaluation=0.0)
