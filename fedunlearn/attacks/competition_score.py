"""The unlearning competition's score for the models that a finished run saved.

Each strategy has one model a seed, and so has each set of retrained ones. All seeds must share one
division of the data (``split``), so that all models were asked to forget the same records.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedunlearn import checks
from fedunlearn.attacks.model_answers import Answers, mean_rates, mean_tug_of_war, question_sets
from fedunlearn.checks import Refused
from fedunlearn.data import Federation, build_federation
from fedunlearn.evaluators import challenge, fitted_epsilons
from fedunlearn.experiment import Experiment, saved_model, split_hash
from fedunlearn.models import Vector
from fedunlearn.results import (
    RETRAIN,
    RETRAIN_AGAIN,
    Case,
    Run,
    is_reference,
    other_references,
    reference_number,
)

FEW = 16
"""With fewer models on a side, even fitted scores tell only gross failures from perfection."""

RESOLVED = 64
"""With fewer, counted errors hardly tell a shift by half a standard deviation from none."""


@dataclass(frozen=True)
class Scoring:
    """A finished run, and how its models are scored."""

    experiment: Experiment
    run: Run
    gate: float = challenge.LARGEST_COST_SHARE
    """The share of retraining's work beyond which the final score is 0."""
    records: int = 256
    """The most records that were to be forgotten and are asked about."""
    replicates: int = 100
    """Resamples for the interval of relative F."""

    def __post_init__(self) -> None:
        """Raise `Refused` for a run that cannot be scored."""
        checks.number("--gate", self.gate, above=0)
        checks.whole("--records", self.records, at_least=2)
        checks.whole("--replicates", self.replicates, at_least=10)
        folder, manifest = self.run.folder, self.run.manifest
        if manifest.get("status") != "finished":
            raise Refused(f"The run in {folder} is not through; finish it, then score it.")
        hashes = manifest.get("split_sha256")
        splits = set(hashes.values()) if isinstance(hashes, dict) else set()
        if len(splits) != 1:
            raise Refused(
                f"The seeds in {folder} divide the data differently, so that their models forgot "
                "different records. Run the comparison again with one division and more seeds: "
                "fedunlearn compare split=0 'seeds=[0,1,2,3,4,5,6,7]' …"
            )
        if RETRAIN not in self._references:
            raise Refused(f"The run in {folder} has no retrained models to compare with.")
        if self.models < 3:
            raise Refused(
                f"The score needs three models on a side, and the run in {folder} has "
                f"{self.models}: run it with split=0 and six seeds or more, or with three seeds or "
                "more and references=2 or more."
            )
        if split_hash(self._federation) not in splits:
            raise Refused(
                f"The records that the configuration of {folder} gives are not those of the run: "
                "their hash differs from the manifest's. Was the data set changed?"
            )

    @property
    def models(self) -> int:
        """How many models will stand on each side."""
        seeds = len(self._seeds)
        return seeds if len(self._references) > 1 else seeds // 2

    @property
    def _seeds(self) -> list[int]:
        return sorted(int(seed) for seed in self.run.summary["seed"].unique())

    @property
    def _federation(self) -> Federation:
        return build_federation(self.experiment.scenario(self._seeds[0]))

    @property
    def _references(self) -> list[str]:
        """The names of the sets of retrained models, the first of them first."""
        names = filter(is_reference, dict.fromkeys(self.run.summary["strategy"]))
        return sorted(names, key=reference_number)

    @property
    def _strategies(self) -> list[str]:
        names = dict.fromkeys(self.run.summary["strategy"])
        return [name for name in names if not is_reference(name)]

    def table(self) -> pd.DataFrame:
        """Return the rows of score.csv: for each request one for each strategy."""
        served = range(1, len(self.experiment.requests) + 1)
        taking = [number for number in served if self._federation.holdings.asking(number)]
        return pd.DataFrame([row for number in taking for row in self._rows(number)])

    def _rows(self, number: int) -> Iterator[dict[str, object]]:
        references, others = self._references, self._strategies
        federation = self._federation
        sets = question_sets(federation, number, self.records)
        answers = {
            name: [
                Answers.of(federation, self._model(Case(seed, name, number)), sets)
                for seed in self._seeds
            ]
            for name in [*references, *others]
        }
        forget = {
            name: np.stack([each.forget for each in models]) for name, models in answers.items()
        }
        retrained = np.stack([forget[name] for name in references])
        strategies = {name: forget[name] for name in others}
        counted = challenge.relative(strategies, retrained, replicates=self.replicates)
        fitted = challenge.relative(
            strategies, retrained, fitted_epsilons, replicates=self.replicates
        )
        base = mean_rates([each for name in references for each in answers[name]])
        answers |= {RETRAIN_AGAIN: answers[RETRAIN]}
        for name, mine in counted.items():
            share, rates = self._share(name, number), mean_rates(answers[name])
            retained, test = ((rates[part], base[part]) for part in ("retained", "test"))
            if name == RETRAIN_AGAIN:  # any set of them is as good as any other
                retained, test = ((base[part], base[part]) for part in ("retained", "test"))
            score, capped = (
                challenge.final_score(
                    mine.quality, retained, test, share, gate=self.gate, capped=at_most_1
                )
                for at_most_1 in (False, True)
            )
            judged = RETRAIN if name == RETRAIN_AGAIN else name
            goals = [answers[goal] for goal in other_references(judged, references)]
            yield {
                "request": number,
                "strategy": name,
                "models": mine.models,
                "records": retrained.shape[2],
                **_columns("", mine),
                **_columns("fitted_", fitted[name]),
                "retained_ratio": _ratio(*retained),
                "test_ratio": _ratio(*test),
                "cost_share": share,
                "score": score,
                "score_capped": capped,
                "tow": mean_tug_of_war(answers[name], goals, "forget"),
                "tow_mia": mean_tug_of_war(answers[name], goals, "strangers"),
            }

    def _model(self, case: Case) -> Vector:
        return saved_model(self.run.folder, self._federation.network.layout, case)

    def _share(self, name: str, number: int) -> float:
        """Return the records that a strategy processed, for one that retraining did."""
        if name == RETRAIN_AGAIN:
            return 1.0
        summary = self.run.summary[self.run.summary["request"] == number]
        samples = summary.groupby("strategy")["samples"].mean()
        return float(samples[name] / samples[RETRAIN])


def warnings(models: int) -> list[str]:
    """Return sentences on what so few models on a side cannot tell."""
    if models < FEW:
        return [
            f"{models} models on a side tell only gross failures from perfection: run with more "
            f"seeds, {FEW} or better {RESOLVED}."
        ]
    if models < RESOLVED:
        return [
            f"With {models} models on a side, read the fitted columns: errors that are counted "
            f"resolve little below {RESOLVED}."
        ]
    return []


def _columns(prefix: str, relative: challenge.Relative) -> dict[str, float]:
    return {
        f"{prefix}epsilon_median": relative.epsilon,
        f"{prefix}quality": relative.quality,
        f"{prefix}ceiling": relative.ceiling,
        f"{prefix}relative": relative.ratio,
        f"{prefix}relative_low": relative.low,
        f"{prefix}relative_high": relative.high,
    }


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else np.nan
