"""Whether a model counts as having forgotten: its gaps to retraining against thresholds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from fedunlearn import checks
from fedunlearn.checks import Positive, Refused, nearest
from fedunlearn.results import (
    CARDS,
    DID_NOT_TAKE,
    GAP_SUFFIX,
    RETRAIN,
    Goals,
    card_or_plain,
    goals_of,
    is_reference,
    metric_columns,
)

Verdict = Literal["within", "exceeded", "not judged"]

Named = Annotated[
    Mapping[str, object], checks.Kind(Mapping, "a mapping such as {measure: test_accuracy}")
]

Approval = Literal["always", "thresholds", "never"]


def gap_columns() -> list[str]:
    """Return what a threshold can be set for: the gaps of all metrics that have one."""
    return [f"{name}{GAP_SUFFIX}" for name, card in CARDS.items() if not card.compares]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Up to which distance from retraining a model counts as having forgotten."""

    largest: Mapping[str, Positive] = field(default_factory=dict)
    """Largest distance from retraining by metric, either way; equal is within."""
    approval: Approval = "always"
    """Which models requests.csv calls approved and released: always all, by the thresholds those
    that are forgotten within them and miss none of the two lists below, or never any, for somebody
    else decides."""
    targets: tuple[Named, ...] = ()
    """What must be forgotten: [{measure: attack_success_rate, verdict: as retrained}], or at most a
    number."""
    utilities: tuple[Named, ...] = ()
    """What must stay: [{measure: test_accuracy, margin: 0.02}] may lose so much of its value before
    the request."""

    def __post_init__(self) -> None:
        """Raise `Refused` for a name that no gap has, a value not above 0, and a wrong list."""
        checks.fields(self)
        names = gap_columns()
        for name in self.largest:
            if name not in names:
                rest = f" does not exist{nearest(str(name), names)}"
                raise checks.field_refused(self, f"largest.{name}", rest)
        object.__setattr__(self, "largest", {name: float(v) for name, v in self.largest.items()})
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "utilities", tuple(self.utilities))
        try:
            Goals.of(self.targets, self.utilities)
        except Refused as refusal:
            key, _, rest = str(refusal).partition(" ")
            raise checks.field_refused(self, key, f" {rest}") from None

    @property
    def goals(self) -> Goals:
        """Both lists."""
        return Goals.of(self.targets, self.utilities)

    def approves(self, forgotten: bool | None, missed: Sequence[str] = ()) -> bool:
        """Whether a model may be released of which a certificate says this; None: nothing.

        ``missed`` are those of its `goals` that it missed. Where nothing else was configured,
        goals are all that counts.
        """
        if self.approval != "thresholds":
            return self.approval == "always"
        told = forgotten is True or (forgotten is None and not self.largest and bool(self.goals))
        return told and not missed


@dataclass(frozen=True, slots=True)
class Judged:
    """One metric of the model, next to retraining; None stands for what is no number."""

    metric: str
    value: float | None
    retrained: float | None
    """Mean value of the models retrained under the same seed; for one of them, of the others."""
    spread: float | None
    """Sample standard deviation of all retrained values of the run; None where there is one."""
    seeds: int
    """How many seeds of the run have a retrained value."""
    threshold: float | None = None
    conclusive: bool = True
    """False for the success of an attack whose probe did not take: it cannot tell anything."""

    @property
    def gap(self) -> float | None:
        """``value - retrained``; zero is the goal."""
        if self.value is None or self.retrained is None:
            return None
        return self.value - self.retrained

    @property
    def verdict(self) -> Verdict:
        """Whether the gap is within the threshold; one that is no number is not."""
        measured = self.value is not None or self.retrained is not None
        if self.threshold is None or not self.conclusive or not measured:
            return "not judged"
        if self.gap is None:
            return "exceeded"
        size = abs(self.gap)
        # 0.55 - 0.5 is above 0.05 in floating point
        equal = math.isclose(size, self.threshold, rel_tol=1e-9)
        return "within" if size <= self.threshold or equal else "exceeded"


def judged(
    row: Mapping[str, object], summary: Sequence[Mapping[str, object]], thresholds: Thresholds
) -> tuple[Judged, ...]:
    """Judge the metrics of one row of a run's ``summary``, which holds the rows of all seeds.

    Raises ValueError where the row's own reference is not in the summary.
    """
    references = [
        r for r in summary if is_reference(str(r["strategy"])) and r["request"] == row["request"]
    ]
    of_seed = {str(r["strategy"]): r for r in references if r["seed"] == row["seed"]}
    if RETRAIN not in of_seed:
        raise ValueError(f"The summary has no row of {RETRAIN} for seed {row['seed']}.")
    goals = [of_seed[name] for name in goals_of(str(row["strategy"]), of_seed)]
    measured = {name for r in summary for name in metric_columns(r)}
    measured |= {name.removesuffix(GAP_SUFFIX) for name in thresholds.largest}
    named = [name for name in CARDS if name in measured]
    judgements = []
    for name in [*named, *sorted(measured - {*CARDS})]:
        has_gap = not card_or_plain(name).compares
        values = [(r["seed"], _number(r.get(name))) for r in references if has_gap]
        finite = [(seed, value) for seed, value in values if value is not None]
        retrained = [_number(r.get(name)) for r in goals if has_gap]
        judgements.append(
            Judged(
                metric=name,
                value=_number(row.get(name)),
                retrained=_mean(retrained),
                spread=statistics.stdev(value for _, value in finite) if len(finite) > 1 else None,
                seeds=len({seed for seed, _ in finite}),
                threshold=thresholds.largest.get(f"{name}{GAP_SUFFIX}"),
                conclusive=not card_or_plain(name).planted or row["probe"] != DID_NOT_TAKE,
            )
        )
    return tuple(judgements)


ANSWERED = {
    "remembers": "still remembers the leavers",
    "damaged": "is damaged where they had been",
    "broken": "is no working model",
}
"""Answers of the run that no threshold can turn into forgetting, as they go on."""


def conclusion(
    metrics: Sequence[Judged], findings: Sequence[str], answer: str = ""
) -> tuple[bool | None, str]:
    """Return whether the leavers are forgotten (None: nobody said what counts), and a sentence.

    ``answer`` is the run's about the strategy: where that tells its models from retrained ones,
    thresholds cannot say otherwise.
    """
    asked = [m for m in metrics if m.threshold is not None]
    exceeded = _gaps(asked, "exceeded")
    faults = []
    if findings:
        count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
        faults.append(f"the audit found what is left of the leavers ({count})")
    if exceeded:
        faults.append(f"exceeds the configured thresholds of {', '.join(exceeded)}")
    if answer in ANSWERED:
        faults.append(f"the run's answer is that the strategy {ANSWERED[answer]}")
    if faults:
        return False, "; ".join(faults)
    if not asked:
        return None, "no thresholds configured"
    untold = _gaps(asked, "not judged")
    if len(untold) == len(asked):
        return None, "none of the metrics that have a threshold could be judged"
    rest = f", but {', '.join(untold)} could not be judged" if untold else ""
    return True, f"forgotten within the configured thresholds{rest}"


def _gaps(metrics: Sequence[Judged], verdict: Verdict) -> list[str]:
    return [f"{m.metric}{GAP_SUFFIX}" for m in metrics if m.verdict == verdict]


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None where one of them is no number."""
    numbers = [value for value in values if value is not None]
    return statistics.fmean(numbers) if numbers and len(numbers) == len(values) else None


def _number(value: object) -> float | None:
    """Return a finite number, or None for whatever else stands in a summary."""
    number = math.nan if value is None or value == "" else float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None
