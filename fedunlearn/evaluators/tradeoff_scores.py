"""Tug of war: one number for forgetting, retaining and generalising at once, next to retraining.

    ToW     = (1 - |forget gap|) (1 - |retain gap|) (1 - |test gap|)
    ToW-MIA = (1 - |membership gap|) (1 - |retain gap|) (1 - |test gap|)

A gap is a model's value less the retrained model's; accuracies are fractions. In [0, 1]; higher is
better, and 1 is a model that is right as often as the retrained one everywhere. Over- and
under-forgetting count alike. It is lower by chance than for a perfect method: retraining with
another seed has gaps, too, and each makes the product smaller. And equal rates may hide that both
models err on different records: look at their agreement.

Zhao, Kurmanji, Bărbulescu, Triantafillou, Triantafillou. What makes unlearning hard and what to do
about it. NeurIPS 2024, arXiv 2406.01257.
"""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from sklearn.svm import SVC

from fedunlearn import randomness
from fedunlearn.evaluators.epsilon import Array
from fedunlearn.randomness import Stream
from fedunlearn.results import GAP_SUFFIX

PARTS = {
    "tow": ("forget_accuracy", "retained_accuracy", "test_accuracy"),
    "tow_mia": ("membership_auc", "retained_accuracy", "test_accuracy"),
}
"""Whose gaps each score is made of.

The paper's retain accuracy is on retained training records; `retained_accuracy` is on held-out
records of the clients who remain, each counting once. Its membership is that of `strangers`;
`membership_auc` needs no other records. `fedunlearn score` has both scores as in the paper.
"""

MOST = 1000
"""So many records of a kind teach ToW-MIA's attack at most; it takes time with their square."""

CASE = ("seed", "strategy", "request")
"""Columns of summary.csv that are kept, where they exist."""


def tug_of_war(gaps: Iterable[float]) -> float:
    """Return ``prod_i (1 - |gap_i|)``, in [0, 1]; 1 is best, nan where a gap is nan.

    ``gaps`` are differences of fractions, each in [-1, 1]. Raises ValueError for others.
    """
    distances = [float(gap) for gap in gaps]
    if any(abs(gap) > 1 for gap in distances):
        raise ValueError("Gaps are differences of fractions: between -1 and 1.")
    return math.prod(1 - abs(gap) for gap in distances)


def strangers(forget: Array, retained: Array, test: Array, seed: int = 0) -> float:
    """Return ToW-MIA's m: the share of the leavers' records that an attack calls non-members.

    All are probabilities that a model gives to records' own labels: of the leavers, [n], of
    records that it was trained on, and of test records. A support-vector machine with the kernel
    ``exp(-(x - y)^2)`` and C = 3 learns to tell the latter two apart, from equally many of each,
    `MOST` at most. The kernel's width is that of the attack's public copies, where gamma is
    "auto", 1 / features, and the feature is one: ``Classification/evaluation/SVC_MIA.py`` in
    OPTML-Group/Unlearn-Saliency. In [0, 1]; the goal is the retrained model's value. nan where a
    probability is nan. Raises ValueError where there are no records of a kind.
    """
    if not min(len(forget), len(retained), len(test)):
        raise ValueError("An attack needs records of all three kinds.")
    rng, count = randomness.rng(seed, Stream.MEMBERSHIP), min(len(retained), len(test), MOST)
    references = np.concatenate([rng.permutation(side)[:count] for side in (retained, test)])
    if np.isnan(references).any() or np.isnan(forget).any():
        return math.nan
    member = np.arange(2 * count) < count
    attack = SVC(C=3.0, gamma="auto").fit(references[:, None], member)
    return float(1 - attack.predict(np.asarray(forget)[:, None]).mean())


def tradeoffs(summary: pd.DataFrame) -> pd.DataFrame:
    """Return ``tow`` and ``tow_mia`` for each row of a run's summary that has the gaps.

    The columns are ``run`` where there are several, ``seed, strategy, request, metric, value``.
    A score whose gaps are not in the summary has no rows; where a gap is missing it is nan.
    """
    kept = [name for name in ("run", *CASE) if name in summary]
    tables = []
    for score, parts in PARTS.items():
        gaps = [f"{part}{GAP_SUFFIX}" for part in parts]
        if set(gaps) <= set(summary):
            values = [tug_of_war(row) for row in summary[gaps].to_numpy(dtype=np.float64)]
            tables.append(summary[kept].assign(metric=score, value=values))
    empty = (
        summary[kept].head(0).assign(metric=pd.Series(dtype="str"), value=pd.Series(dtype=float))
    )
    return pd.concat(tables, ignore_index=True) if tables else empty
