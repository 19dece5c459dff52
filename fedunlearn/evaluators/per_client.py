"""How the model serves each client who remains, and how far it is from retraining there."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import CountFromZero
from fedunlearn.evaluators import comparison
from fedunlearn.evaluators.scores import accuracy, overlap
from fedunlearn.evaluators.snapshot import Snapshot
from fedunlearn.results import PART_SEPARATOR

RETAINED = "retained/"
"""What the sets of those who remain are called, before the client's number."""


@dataclass(frozen=True, slots=True)
class PerClient:
    """Accuracy, agreement and divergence on the held-out records of each client who remains.

    ``retained_accuracy/<k>`` for client k, and next to a retrained model ``retained_agreement/<k>``
    and ``retained_divergence/<k>``, of at most so many clients: those whose records' labels are
    most like the leavers', since they are the ones who may pay for the deletion.
    ``retained_agreement`` and ``retained_divergence`` are the means over all clients, each
    counting once. Clients without held-out records do not count. Accuracies and agreement are
    better when higher, divergence when lower.
    """

    most: CountFromZero = 100
    """The most clients that get numbers of their own: those most like the leavers."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the metrics whose records exist."""
        clients = [name for name, held in model.sets.items() if name.startswith(RETAINED) and held]
        numbers = {"accuracy": [accuracy(model.logits(c), model.labels(c)) for c in clients]}
        means = {}
        if retrained is not None and clients:
            for compare in (comparison.agreement, comparison.divergence):
                each = [compare(model.logits(c), retrained.logits(c)) for c in clients]
                numbers[compare.__name__] = each
                means[f"retained_{compare.__name__}"] = float(np.mean(each))
        shown = set(self._most_alike(model, clients))
        return means | {
            f"retained_{what}{PART_SEPARATOR}{client.removeprefix(RETAINED)}": value
            for what, each in numbers.items()
            for client, value in zip(clients, each, strict=True)
            if client in shown
        }

    def _most_alike(self, model: Snapshot, clients: list[str]) -> list[str]:
        """Return the clients whose labels are most like the leavers', the same for every model."""
        if len(clients) <= self.most or not model.sets.get("forget"):
            return clients[: self.most]
        classes = model.logits(clients[0]).shape[1]

        def counts(name: str) -> Tensor:
            return model.labels(name).bincount(minlength=classes)

        gone = counts("forget")
        alike = {client: overlap(counts(client), gone) for client in clients}
        return sorted(clients, key=lambda client: -alike[client])[: self.most]
