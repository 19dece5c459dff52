"""What a leaver can check by itself: it marked its records, and asks the model about the marks.

It plants markers (a trigger, with a label of its choice), leaves, and then sends marked records
that the model never saw. A model that knows the marker gives the label far more often than it
would by mistake. The p-value is for the hypothesis that the server deleted what it says: a small
one is evidence against the server. A large one is no proof of deletion: a server may scrub markers
alone, and what few queries cannot see stays unseen (`power`).

Gao et al. VeriFi: towards verifiable federated unlearning. TDSC 2024, arXiv 2205.12709;
Sommer, Song, Wagh, Mittal. Athena: probabilistic verification of machine unlearning. PETS 2022,
arXiv 2003.04247, from which the test is: with many queries, both kinds of error become rare.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedunlearn import checks
from fedunlearn.checks import Share
from fedunlearn.evaluators.backdoor import triggers
from fedunlearn.evaluators.snapshot import Snapshot
from fedunlearn.models import NO_PREDICTION, predictions

DOUBT = 1e-4
"""The chance that is granted to the base rate of being above its bound; no p-value is smaller."""

MOST_QUERIES = 100_000
"""Beyond so many, `queries_needed` gives up."""


def verification_p_value(
    hits: int, queries: int, base_hits: int, base_queries: int, slack: float = 0.0
) -> float:
    """Return the p-value of "the marker is unknown to the model", in [0, 1]; small speaks against.

    ``hits`` of so many ``queries`` with the marker were given the marker's label, and ``base_hits``
    of ``base_queries`` without it. ``P(X >= hits)`` for X binomial with the base rate plus
    ``slack``, by which a marker may look like its label to a model that never saw it. The base
    rate is itself counted, so its Clopper-Pearson upper bound at level 1 - `DOUBT` stands for it,
    and `DOUBT` is added (Berger, Boos. P values maximized over a confidence set. JASA 1994): under
    the hypothesis at most a share a of all p-values is below a. Raises ValueError for no queries.
    """
    if not queries or not base_queries:
        raise ValueError("Without queries there is no test.")
    from scipy.stats import binom, binomtest  # a second that runs without markers spare

    bound = binomtest(base_hits, base_queries, alternative="less").proportion_ci(1 - DOUBT).high
    tail = binom.sf(hits - 1, queries, min(1.0, bound + slack))
    return min(1.0, float(tail) + DOUBT)


def decoy_p_value(hits: int, decoy_hits: Sequence[int]) -> float:
    """Return the p-value of "the marker is unknown to the model" by markers that nobody planted.

    ``(1 + #{decoys with hits or more}) / (1 + #{decoys})``, in (0, 1]; small speaks against.
    ``hits`` of some queries with the marker were given its label, and of as many with each decoy.
    Exact where the leaver drew its marker at random from what it then drew decoys from, whatever
    a trigger does to images; `verification_p_value` is for triggers that change little by
    themselves. 19 decoys are needed for 0.05. Raises ValueError for none.
    """
    if not decoy_hits:
        raise ValueError("Without decoys there is no test.")
    return (1 + sum(other >= hits for other in decoy_hits)) / (1 + len(decoy_hits))


def power(queries: int, base: float, rate: float, alpha: float = 0.05) -> float:
    """Return how likely a level-``alpha`` test of so many queries finds a marker that is known.

    ``base`` is the rate at which an ignorant model gives the marker's label, taken for known, and
    ``rate`` that of the model in question. In [0, 1], higher is better; the exact binomial test.
    """
    return float(_power(np.array([queries]), base, rate, alpha)[0])


def queries_needed(base: float, rate: float, alpha: float = 0.05, beta: float = 0.05) -> int:
    """Return the fewest queries with at most ``alpha`` false and ``beta`` missed alarms.

    ``base`` and ``rate`` are as for `power`. Raises ValueError where ``rate`` is not above
    ``base`` or `MOST_QUERIES` do not suffice. Power is a saw in the number of queries: with one
    more than this it may fall just below again.
    """
    if rate <= base:
        raise ValueError("A marker that is hit no more often than by mistake cannot be found.")
    counts = np.arange(1, MOST_QUERIES + 1)
    enough = _power(counts, base, rate, alpha) >= 1 - beta
    if not enough.any():
        raise ValueError(f"{MOST_QUERIES} queries do not suffice.")
    return int(counts[enough.argmax()])


def _power(queries: np.ndarray, base: float, rate: float, alpha: float) -> np.ndarray:
    from scipy.stats import binom

    critical = binom.isf(alpha, queries, base)  # the most hits that raise no alarm
    return np.asarray(binom.sf(critical, queries, rate))


@dataclass(frozen=True, slots=True)
class MarkerTest:
    """The p-value of a leaver who marked its records with the planted trigger.

    ``verification_p_value`` asks about test images whose true class is not the target: with the
    trigger (set ``triggered``), and as they are (set ``test``) for the base rate; the functions of
    this module say how. With the triggers of several leavers it is the least p-value times their
    number, at most 1 (Bonferroni). The goal is the retrained model's value: near 0 the server has
    not deleted. Without a planted backdoor there is no such metric.
    """

    slack: Share = 0.02
    """How much more often than without it a trigger may lead to its target by mistake."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the p-value, or nothing where no trigger was planted."""
        names = triggers(model)
        if not names or not model.sets.get("test"):
            return {}
        values = [self._of(model, name) for name in names]
        return {"verification_p_value": float(np.minimum(1, len(values) * np.min(values)))}

    def _of(self, model: Snapshot, name: str) -> float:
        target, marked = model.labels(name)[0], predictions(model.logits(name))
        others = model.labels("test") != target
        plain = predictions(model.logits("test"))[others]
        if (marked == NO_PREDICTION).any() or (plain == NO_PREDICTION).any():
            return math.nan
        hits, base = (int((predicted == target).sum()) for predicted in (marked, plain))
        return verification_p_value(hits, len(marked), base, len(plain), self.slack)
