"""Whether a backdoor that the leavers planted still opens."""

from dataclasses import dataclass

from fedunlearn.evaluators.scores import accuracy
from fedunlearn.evaluators.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class BackdoorProbe:
    """The share of triggered images that are taken for the attacker's target class.

    ``attack_success_rate = mean_i 1[argmax f(x_i + trigger) = target]`` over test images whose
    true class is not the target (set ``triggered``, whose labels are the target). The goal is
    the retrained model's value, its rate of mistaking images for that class, which is near 0.
    Without a planted backdoor there is no such metric.
    """

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the rate, or nothing where no backdoor was planted."""
        if not model.sets.get("triggered"):
            return {}
        rate = accuracy(model.logits("triggered"), model.labels("triggered"))
        return {"attack_success_rate": rate}
