"""What models say of the records that the competition's score asks them about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedunlearn import randomness
from fedunlearn.data import Federation, Records
from fedunlearn.evaluators import Snapshot, accuracy, confidence, losses, strangers, tug_of_war
from fedunlearn.models import Vector
from fedunlearn.randomness import Stream

PARTS = ("forget", "retained", "test")
"""The sets of records that every model is asked about; the second was trained on by others."""


@dataclass(frozen=True)
class Answers:
    """What one model says."""

    forget: np.ndarray
    """[records]: logit-scaled confidences on the training records that were to be forgotten."""
    rates: Mapping[str, float]
    """Accuracy on ``forget``, ``retained`` and ``test`` records, and the share of ``strangers``
    that ToW-MIA's attack finds among the first."""

    @classmethod
    def of(cls, federation: Federation, weights: Vector, sets: Mapping[str, Records]) -> "Answers":
        """Ask the model ``weights`` [d] about the `question_sets`."""
        model = Snapshot(federation.network, weights, sets, federation.initial)
        forget, retained, test = (_own(model.logits(part), model.labels(part)) for part in PARTS)
        rates = {part: accuracy(model.logits(part), model.labels(part)) for part in PARTS}
        return cls(
            forget=confidence(model.logits("forget").numpy(), model.labels("forget").numpy()),
            rates=rates | {"strangers": strangers(forget, retained, test)},
        )


def question_sets(federation: Federation, number: int, most: int) -> dict[str, Records]:
    """Return what every model is asked about once request ``number``, from 1, was served.

    Of the records that it took those are at most ``most``, in order; retained records are those
    that clients then train on.
    """
    sets, kept = federation.request_sets(number), federation.kept(number)
    staying = federation.holdings.present(federation.erasure(number).after, number)
    retained = Records.joined([kept[client] for client in sorted(staying)])
    test = sets["test"]
    return {
        "forget": _sample(sets["forget"], most),
        "retained": _sample(retained, len(test)),
        "test": test,
    }


def mean_rates(models: Sequence[Answers]) -> dict[str, float]:
    """Return the mean of each rate over ``models``."""
    return {rate: float(np.mean([each.rates[rate] for each in models])) for rate in models[0].rates}


def mean_tug_of_war(
    models: Sequence[Answers], goals: Sequence[Sequence[Answers]], first: str
) -> float:
    """Return the mean tug of war of each model with the mean of its own seed's ``goals``.

    nan where there are none. ``goals`` holds sets of models, each with one a seed; ``first`` is
    the rate that stands for forgetting.
    """
    scores = [
        tug_of_war(model.rates[part] - goal[part] for part in (first, "retained", "test"))
        for model, goal in zip(
            models, map(mean_rates, zip(*goals, strict=True)), strict=bool(goals)
        )
    ]
    return float(np.mean(scores)) if scores else np.nan


def _own(logits: Tensor, labels: Tensor) -> np.ndarray:
    """Return the probability of each record's own label, [n]."""
    return np.asarray(torch.exp(-losses(logits, labels)).numpy())


def _sample(records: Records, most: int) -> Records:
    """Return at most so many records, in their order and the same in every run."""
    if len(records) <= most:
        return records
    rows = randomness.rng(0, Stream.SCORED).permutation(len(records))[:most]
    return records.take(torch.from_numpy(np.sort(rows)))
