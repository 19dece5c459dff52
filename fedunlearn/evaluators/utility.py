"""How well the model serves everybody else."""

from dataclasses import dataclass

import numpy as np

from fedunlearn.evaluators.scores import accuracy, mean_loss
from fedunlearn.evaluators.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Utility:
    """Accuracy and loss on the test set, and accuracy at the clients who remain.

    ``test_accuracy`` and ``test_loss`` are taken on the set ``test``. With a_k the accuracy on
    the held-out records of retained client k (set ``retained/<k>``), each client counting once:
    ``retained_accuracy = mean_k a_k``, ``retained_accuracy_std`` their population standard
    deviation, ``retained_accuracy_worst = min_k a_k``. Clients without held-out records do not
    count. Higher accuracies, a lower loss and a smaller spread are better.
    """

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the metrics whose records exist."""
        values = {}
        if model.sets.get("test"):
            logits, labels = model.logits("test"), model.labels("test")
            values["test_accuracy"] = accuracy(logits, labels)
            values["test_loss"] = mean_loss(logits, labels)
        clients = [
            accuracy(model.logits(name), model.labels(name))
            for name, records in model.sets.items()
            if name.startswith("retained/") and records
        ]
        if clients:
            values["retained_accuracy"] = float(np.mean(clients))
            values["retained_accuracy_std"] = float(np.std(clients))
            values["retained_accuracy_worst"] = min(clients)
        return values
