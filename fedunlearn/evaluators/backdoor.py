"""Whether a backdoor that the leavers planted still opens."""

from dataclasses import dataclass

import numpy as np

from fedunlearn.evaluators.scores import accuracy
from fedunlearn.evaluators.snapshot import Snapshot

TRIGGERED = "triggered"
"""The name of the set with the trigger of one leaver, and of several before ``/<client>``."""


@dataclass(frozen=True, slots=True)
class BackdoorProbe:
    """The share of triggered records that are taken for the attacker's target class.

    ``attack_success_rate = mean_i 1[argmax f(x_i + trigger) = target]`` over test records whose
    true class is not the target (set ``triggered``, whose labels are the target). The goal is
    the retrained model's value, its rate of mistaking records for that class, which is near 0.
    Where several leave, it is the mean over their triggers, and ``attack_success_rate/<client>`` is
    that of one (set ``triggered/<client>``). Without a planted backdoor there is no such metric.
    """

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the rates, or nothing where no backdoor was planted."""
        rates = {
            name.removeprefix(TRIGGERED): accuracy(model.logits(name), model.labels(name))
            for name in triggers(model)
        }
        if not rates:
            return {}
        mean = {"": float(np.mean(list(rates.values())))}
        return {f"attack_success_rate{which}": rate for which, rate in (mean | rates).items()}


def triggers(model: Snapshot) -> list[str]:
    """Return the names of the sets with triggers that hold records."""
    return [
        name
        for name, records in model.sets.items()
        if name.partition("/")[0] == TRIGGERED and len(records)
    ]
