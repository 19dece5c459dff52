"""A small comparison on digits, and how to carry one out."""

import io

from rich.console import Console

from fedunlearn.data import Backdoor, Dirichlet
from fedunlearn.evaluators import BackdoorProbe, Distance, Forgetting, Membership, Utility
from fedunlearn.experiment import Evaluation, Experiment, run
from fedunlearn.local import Distillation, LocalWork, Sgd
from fedunlearn.models import Mlp
from fedunlearn.unlearning import Request, Training
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.retrain import Retrain
from strategies.subtraction import Subtraction
from tests.support.world import FewDigits

SUBTRACTION = Subtraction(
    rounds=2, work=LocalWork(epochs=1, optimizer=Sgd(0.01), objective=Distillation())
)


MEASURES = (Utility(), Forgetting(), BackdoorProbe(), Membership(), Distance())


SMALL = Experiment(
    dataset=FewDigits(),
    partition=Dirichlet(clients=4),
    planting=Backdoor(),
    model=Mlp((16,)),
    training=Training(rounds=4, work=LocalWork(epochs=1)),
    requests=(Request(frozenset({1}), 4),),
    strategies={
        "none": Nothing(),
        "retrain": Retrain(),
        "finetune": FineTune(rounds=2),
        "federaser": FedEraser(interval=2),
        "fedaccum": FedAccum(),
        "subtraction": SUBTRACTION,
    },
    reference=Retrain(),
    evaluation=Evaluation(MEASURES),
)


def carried_out(experiment, folder, seeds=(0,)):
    console = Console(file=io.StringIO())
    return run(experiment, seeds, folder, {"a": 1}, console)
