"""A small run with two requests, and an evaluator at which it breaks off."""

from dataclasses import dataclass

from fedunlearn.data import Iid
from fedunlearn.data import NoPlanting as Unplanted
from fedunlearn.evaluators import Utility
from fedunlearn.experiment import Evaluation, Experiment
from fedunlearn.flower import Local
from fedunlearn.history import InMemory
from fedunlearn.local import LocalWork
from fedunlearn.models import Mlp
from fedunlearn.unlearning import Plain, Request, Training
from strategies.fedaccum import FedAccum
from strategies.retrain import Retrain
from tests.support.world import FewDigits

WAVES = Experiment(
    dataset=FewDigits(),
    partition=Iid(clients=4),
    planting=Unplanted(),
    model=Mlp((4,)),
    training=Training(rounds=5, work=LocalWork(epochs=1)),
    requests=(Request(frozenset({1}), 2), Request(frozenset({3}), 4)),
    strategies={"fedaccum": FedAccum()},
    reference=Retrain(),
    evaluation=Evaluation((Utility(),)),
    recovery=Plain(rounds=2),
    store=InMemory(),
    engine=Local(mode="workers", workers=1),
    checkpoint=0,
)


@dataclass
class Breaking:
    """Utility, until it is asked once too often."""

    left: int

    def __call__(self, model, retrained):
        """Measure, or break."""
        self.left -= 1
        if self.left < 0:
            raise InterruptedError
        return Utility()(model, retrained)
