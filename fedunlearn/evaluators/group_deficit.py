"""How much worse a group of people is served than everybody."""

import math
from dataclasses import dataclass

from fedunlearn.evaluators.scores import accuracy
from fedunlearn.evaluators.snapshot import Snapshot

GROUP = "group"
"""The name of the set with the test records of the group."""


@dataclass(frozen=True, slots=True)
class GroupDeficit:
    """The accuracy that a group of test records lacks next to all of them.

    ``group_deficit = acc(test) - acc(group)``: what a leaver's flipped labels of that group have
    done. The goal is the retrained model's value, which the group's difficulty alone makes.
    Only where a planting names a group (`fedunlearn.data.FlippedGroup`).
    """

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the difference, nan for a diverged model; nothing where no group is named."""
        if not (model.sets.get(GROUP) and model.sets.get("test")):
            return {}
        if not bool(model.logits(GROUP).isfinite().all()):
            return {"group_deficit": math.nan}  # who serves nobody would wrong no group
        everybody, group = (
            accuracy(model.logits(name), model.labels(name)) for name in ("test", GROUP)
        )
        return {"group_deficit": everybody - group}
