"""What a deletion does to the privacy of those who remain."""

from dataclasses import dataclass

import numpy as np

from fedunlearn import checks
from fedunlearn.checks import Count, ShareAboveZero
from fedunlearn.evaluators.per_client import RETAINED
from fedunlearn.evaluators.scores import auc, losses
from fedunlearn.evaluators.snapshot import Snapshot
from fedunlearn.results import PART_SEPARATOR

MEMBERS = "members/"
"""What the sets of records that a remaining client trains on are called, before its number."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """How far the loss tells records that remaining clients train on from those they hold out.

    ``retained_membership_auc`` is the mean over clients of ``P(l(x) < l(y)) + P(l(x) = l(y)) / 2``
    for the cross-entropy l, a record x that the client trains on and a held-out y of the same
    client; ``exposed_membership_auc`` that of the clients who were exposed most in the model before
    the request, ``share`` of all. 0.5 is no exposure; higher is more. Once the most exposed have
    left, the next ones may be exposed more: a strategy is to be blamed for what it does beyond
    retraining. ``retained_membership_auc/<k>`` is that of client k alone.

    Carlini, Jagielski, Zhang, Papernot, Terzis, Tramer. The privacy onion effect: memorization is
    relative. NeurIPS 2022, arXiv 2206.10469.
    """

    share: ShareAboveZero = 0.1
    """Of the remaining clients are the most exposed; at least one."""
    records: Count = 256
    """The most records of a client that are looked at, the same ones for every model."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return both areas, or nothing where nobody holds records out."""
        exposed = self._areas(model)
        if not exposed:
            return {}
        before = exposed if model.original is None else self._areas(model.original)
        ranked = sorted(exposed, key=lambda client: (-before[client], client))
        top = ranked[: max(1, round(self.share * len(ranked)))]
        return {
            "retained_membership_auc": float(np.mean(list(exposed.values()))),
            "exposed_membership_auc": float(np.mean([exposed[client] for client in top])),
            **{f"retained_membership_auc{PART_SEPARATOR}{c}": area for c, area in exposed.items()},
        }

    def _areas(self, model: Snapshot) -> dict[str, float]:
        """Return the area of each remaining client, computed once a model."""
        return model.once(("exposure", self.records), lambda: self._computed(model))

    def _computed(self, model: Snapshot) -> dict[str, float]:
        areas = {}
        for name, members in model.looked_further(self.records).items():
            client = name.removeprefix(MEMBERS)
            others = f"{RETAINED}{client}"
            if model.sets.get(others):
                seen, unseen = losses(*members), losses(model.logits(others), model.labels(others))
                areas[client] = auc(-seen, -unseen)
        return areas
