"""Whether the model gives away whose records it was trained on."""

from dataclasses import dataclass

from fedunlearn.evaluators.scores import auc, losses
from fedunlearn.evaluators.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Membership:
    """The loss-threshold attack: calls those records members whose loss is low.

    ``membership_auc = P(l(x) < l(y)) + P(l(x) = l(y)) / 2`` for the cross-entropy l, a member x
    and a non-member y. Members are the leavers' training records that were not poisoned (set
    ``forget_clean``): held-out records carry no trigger, so poisoned members would tell the
    poison and not the membership. Non-members are held-out records of the same clients (set
    ``forget_heldout``): those of other clients would tell the skew between clients.
    Equality with the retrained model is the goal, not 0.5.

    Yeom, Giacomelli, Fredrikson, Jha. Privacy risk in machine learning: analyzing the connection
    to overfitting. CSF 2018, arXiv 1709.01604.
    """

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the area, or nothing where members or non-members are missing."""
        names = ("forget_clean", "forget_heldout")
        if not all(model.sets.get(name) for name in names):
            return {}
        members, others = (-losses(model.logits(name), model.labels(name)) for name in names)
        return {"membership_auc": auc(members, others)}
