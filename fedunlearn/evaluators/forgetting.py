"""How the model does on the data of those who left."""

from dataclasses import dataclass

from fedunlearn.evaluators.scores import accuracy, mean_loss
from fedunlearn.evaluators.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Accuracy and loss on the leavers' records; equality with the retrained model is the goal.

    ``forget_*`` is taken on what they trained on, exactly as they trained on it, poisoned records
    and labels included (set ``forget``); ``forget_heldout_*`` on records of the same clients that
    nobody trained on (set ``forget_heldout``). A model below the retrained one on ``forget`` has
    not forgotten better: it has been damaged there, and that can be seen from outside.
    """

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the metrics whose records exist."""
        values = {}
        for name in ("forget", "forget_heldout"):
            if model.sets.get(name):
                logits, labels = model.logits(name), model.labels(name)
                values[f"{name}_accuracy"] = accuracy(logits, labels)
                values[f"{name}_loss"] = mean_loss(logits, labels)
        return values
