"""What every verdict and answer is made of: a strategy's models next to the retrained ones.

A measure's own p-value says nothing while there are others beside it; those here allow for all.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from fedunlearn.results.branches import RETRAIN_AGAIN
from fedunlearn.results.joint_test import LEVEL, told_apart
from fedunlearn.results.looks import in_order
from fedunlearn.results.margins import Measured
from fedunlearn.results.metric_cards import PART_SEPARATOR, card_or_plain
from fedunlearn.results.permutation_test import enough
from fedunlearn.results.references import other_references
from fedunlearn.results.run_files import metric_columns
from fedunlearn.results.wording import DID_NOT_TAKE


@dataclass(frozen=True, slots=True)
class Comparison:
    """One strategy at one request, next to the models retrained under the same seeds."""

    strategy: str
    measures: Mapping[str, Measured]
    """By metric: all that are judged, but those that compare with the first reference already."""
    seeds: int
    references: int
    p_value: float
    adjusted: Mapping[str, float]
    """The p-value of each measure, with allowance for the others."""

    @property
    def apart(self) -> list[str]:
        """The measures that tell the strategy's models from retrained ones, the surest first.

        Measures about the leavers come before the others.
        """
        metrics = [metric for metric, p in self.adjusted.items() if p <= LEVEL]
        return sorted(
            metrics,
            key=lambda m: (
                not card_or_plain(m).about_leavers,
                self.adjusted[m],
                -abs(self.measures[m].gap) / (self.measures[m].sd or math.inf),
            ),
        )

    @property
    def telling(self) -> list[str]:
        """The measures that are not the same for all models of each seed: only these can tell."""
        return [metric for metric, one in self.measures.items() if not one.constant]

    @property
    def can_decide(self) -> bool:
        """Whether there are enough models to tell any difference from chance."""
        return enough(self.seeds, self.references, 1 - LEVEL)


def comparisons(served: pd.DataFrame) -> Iterator[Comparison]:
    """Yield retraining again, then each strategy of one request, next to who judges it.

    `RETRAIN_AGAIN` is the second reference of each seed, judged by the others. Left out are single
    clients and layers, metrics whose card says that they are not judged, and distances to the first
    reference, which it has none of itself. Seeds whose probe did not take do not count for the
    success of the attack.
    """
    names = list(served["strategy"].unique())
    references = other_references("", names)
    if not references:
        return
    by_case = served.set_index(["seed", "strategy"])
    tables = {
        metric: by_case[metric].unstack()
        for metric in metric_columns(served)
        if PART_SEPARATOR not in metric and card_or_plain(metric).judged
    }
    compares = {m for m, table in tables.items() if table[references[0]].isna().all()}
    probes = by_case["probe"].unstack()
    again = [(RETRAIN_AGAIN, references[1])] if references[1:] else []
    others = [(name, name) for name in in_order(names) if name not in references]
    for label, judged in [*again, *others]:
        by = other_references(judged, references)
        compared = {}
        for metric, table in tables.items():
            if metric in compares:
                continue
            taken = probes[judged] != DID_NOT_TAKE
            shown = table.where(taken, axis=0) if card_or_plain(metric).planted else table
            one = Measured(metric, shown[judged].to_numpy(), shown[by].to_numpy())
            if one.counts.any() or not one.finite:
                compared[metric] = one
        p, adjusted = told_apart(
            {m: one.values for m, one in compared.items()},
            {m: one.references for m, one in compared.items()},
        )
        yield Comparison(label, compared, len(by_case.index.unique("seed")), len(by), p, adjusted)
