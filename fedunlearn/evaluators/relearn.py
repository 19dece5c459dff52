"""How soon a model learns anew what it was to forget: what is hidden comes back fast."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks, randomness
from fedunlearn.checks import Count, CountFromZero, NotNegative
from fedunlearn.data import Records
from fedunlearn.evaluators.snapshot import Snapshot
from fedunlearn.local import LocalWork, Sgd, train_locally
from fedunlearn.models import Network, Vector
from fedunlearn.randomness import Stream

LOOKS = 8
"""The loss is looked at again when there are a share of 1 in so many more steps."""


def relearn(
    network: Network,
    weights: Vector,
    records: Records,
    work: LocalWork,
    threshold: float,
    most: int,
    rng: np.random.Generator,
) -> float:
    """Return the steps of training on ``records`` until their loss is at most ``threshold``.

    ``weights`` [d] are trained as ``work`` says, in batches of its size and at the learning rate of
    round 1, for ``most`` steps at the most; ``rng`` shuffles the records, epoch by epoch. The loss,
    the mean of the objective's over all records in nats, is looked at after each of the first steps
    and then whenever there are an eighth more; there an optimizer with momentum begins anew.
    Between two looks it is taken to fall evenly: the value, in [0, most], need not be whole. It is
    0 where there is nothing to learn and ``most`` where so many steps did not do; then it is a
    lower bound. It is nan where a loss is.
    """
    n, done, reached = len(records), 0, weights
    size = min(work.batch_size, n)
    # Steps are counted here, whatever a round is allowed.
    whole = replace(work, epochs=math.ceil(most * size / n), batches=None)
    order = torch.from_numpy(whole.order(n, rng))
    stretch = replace(whole, epochs=1, batch_size=size)
    before = _loss(network, weights, records, work)
    if before <= threshold:
        return 0.0
    while done < most:
        steps = min(max(1, done // LOOKS), most - done)
        rows = order[done * size : (done + steps) * size].to(records.labels.device)
        shown = records.take(rows)
        trained = train_locally(network, reached, shown.inputs, shown.labels, stretch, 1, rng)
        reached = trained.weights
        loss = _loss(network, reached, records, work)
        if not math.isfinite(loss):
            return math.nan
        if loss <= threshold:
            return done + steps * (before - threshold) / (before - loss)
        before, done = loss, done + steps
    return float(most)


def anamnesis_index(steps: float, retrained: float, most: int) -> float:
    """Return ``steps / retrained``, at least 0: relearn times of this and of the retrained model.

    1 is the retrained model's own; below 1 the model learns faster than one that never saw the
    records, so it kept something of them; above 1 it resists what any other model would learn.
    It is nan where the retrained model had nothing to learn (0) or did not learn it (``most``):
    then nothing can be told.

    Chundawat, Tarun, Mandal, Kankanhalli. Zero-shot machine unlearning. IEEE Transactions on
    Information Forensics and Security 2023, arXiv 2201.05629. There the accuracy is to come back.
    """
    return steps / retrained if 0 < retrained < most else math.nan


@torch.no_grad()
def _loss(network: Network, weights: Vector, records: Records, work: LocalWork) -> float:
    """Return the mean loss of all records."""
    images: Tensor = network.arranged(records.inputs)
    losses = work.objective(network, weights, images, records.labels, weights[None])
    return float(losses.double().mean())


@dataclass(frozen=True, slots=True)
class Relearning:
    """Relearn time, and the anamnesis index: that of this over that of the retrained model.

    ``relearn_steps`` are the steps of training on the leavers' records (set ``forget``) until their
    mean loss is ``(1 + slack)`` times the original's, the model before the request;
    ``anamnesis_index`` is that number over the retrained model's. Every model learns from the same
    records in the same order at a learning rate that stays. Equality with the retrained model is
    the goal: an index of 1. The retrained model itself has none.
    """

    work: LocalWork = field(
        default_factory=lambda: LocalWork(epochs=1, optimizer=Sgd(lr=0.02, momentum=0.0))
    )
    """How the model is trained; ``most`` limits the steps, not the epochs."""
    slack: NotNegative = 0.1
    """How much more than the original's the loss may be, as a share of it."""
    most: Count = 400
    """Steps after which relearning is given up."""
    records: Count = 256
    """The most records that are learnt anew, the same ones for every model."""
    seed: CountFromZero = 0
    """Seed of the order of the records."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return both, or nothing without leavers or an original to reach."""
        original = model.original
        if original is None or not model.sets.get("forget"):
            return {}
        records = model.sampled("forget", self.records)
        loss = original.once((self, "loss"), lambda: self._loss(original, records))
        values = {"relearn_steps": self._steps(model, records, loss)}
        if retrained is not None:
            reference = retrained.once((self, loss), lambda: self._steps(retrained, records, loss))
            values["anamnesis_index"] = anamnesis_index(
                values["relearn_steps"], reference, self.most
            )
        return values

    def _loss(self, model: Snapshot, records: Records) -> float:
        weights = model.weights.to(records.labels.device)
        return _loss(model.network, weights, records, self.work)

    def _steps(self, model: Snapshot, records: Records, loss: float) -> float:
        rng = randomness.rng(self.seed, Stream.RELEARNING)
        weights = model.weights.to(records.labels.device)
        threshold = (1 + self.slack) * loss
        return relearn(model.network, weights, records, self.work, threshold, self.most, rng)
