"""Whether what was forgotten at earlier requests stays forgotten."""

from dataclasses import dataclass

import numpy as np

from fedunlearn.evaluators.scores import accuracy
from fedunlearn.evaluators.snapshot import Snapshot
from fedunlearn.results import PART_SEPARATOR

EARLIER, EARLIER_TRIGGERED = "earlier/", "earlier_triggered/"
"""What the sets of an earlier request are called, before its number."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """Accuracy and attack success on what earlier requests took, each request counting once.

    ``earlier_accuracy/<r>`` is taken on the records that request r had erased and nobody has
    brought back since (set ``earlier/<r>``), ``earlier_attack_success_rate/<r>`` on test records
    with the triggers of those who asked then (set ``earlier_triggered/<r>``); without a number
    they are the means over all requests before the one being served. A model that later rounds,
    teachers or copies bring back to what was deleted lies above the retrained one, which met none
    of it. Equality with retraining is the goal.
    """

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the metrics whose records exist: none at a first request."""
        values: dict[str, float] = {}
        for metric, kind in (
            ("earlier_accuracy", EARLIER),
            ("earlier_attack_success_rate", EARLIER_TRIGGERED),
        ):
            sets = [name for name, held in model.sets.items() if name.startswith(kind) and held]
            each = [accuracy(model.logits(name), model.labels(name)) for name in sets]
            if each:
                values[metric] = float(np.mean(each))
            numbers = [name.removeprefix(kind) for name in sets]
            values |= {
                f"{metric}{PART_SEPARATOR}{n}": v for n, v in zip(numbers, each, strict=True)
            }
        return values
