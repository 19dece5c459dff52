"""What a request must reach: targets, which must be forgotten, and utilities, which must stay."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import pandas as pd

from fedunlearn import checks
from fedunlearn.checks import FieldRefused, Refused
from fedunlearn.results.before_after import ends
from fedunlearn.results.branches import is_reference
from fedunlearn.results.case import Case
from fedunlearn.results.metric_cards import CARDS
from fedunlearn.results.wording import DID_NOT_TAKE

AS_RETRAINED, AT_MOST = "as retrained", "at most "
"""What a target can ask for: the verdict ``inside``, or a value up to a number that follows."""

Goal = TypeVar("Goal", "Target", "Utility")

CASE = ["seed", "strategy", "request", "metric"]


@dataclass(frozen=True, slots=True)
class Target:
    """A measure of what must be forgotten."""

    measure: str
    """The metric's name in metrics.csv."""
    verdict: str = AS_RETRAINED
    """``as retrained``, or ``at most`` and a number."""

    def __post_init__(self) -> None:
        """Raise `Refused` for a measure that does not exist, and for another verdict."""
        checks.fields(self)
        _require_measure(self, self.measure)
        card = CARDS[self.measure]
        if self.verdict == AS_RETRAINED and (card.compares or not card.judged):
            rest = f": {self.measure} gets no verdict next to retraining. Ask for at most so much."
            raise checks.field_refused(self, "verdict", rest)
        if self.verdict != AS_RETRAINED and self.limit is None:
            rest = f" must be as retrained, or at most and a number, not {self.verdict!r}."
            raise checks.field_refused(self, "verdict", rest)

    @property
    def limit(self) -> float | None:
        """The most that the measure may be; None where retraining is the goal."""
        try:
            limit = float(self.verdict.removeprefix(AT_MOST))
        except ValueError:
            return None
        told = self.verdict.startswith(AT_MOST) and math.isfinite(limit)
        return limit if told else None

    @property
    def words(self) -> str:
        """What is asked for, as a table says it."""
        return self.verdict

    def miss(self, before: float, after: float, verdict: str) -> str:
        """Return what is wrong, or nothing."""
        if self.limit is not None:
            return "" if after <= self.limit else f"{after:.4g}, not {self.verdict}"
        return "" if verdict == "inside" else f"{verdict or 'no verdict'}, not {self.verdict}"


@dataclass(frozen=True, slots=True)
class Utility:
    """A measure of what must stay as good as it was before the request."""

    measure: str
    """The metric's name in metrics.csv: one of which high, or low, is good."""
    margin: checks.NotNegative = 0.02
    """By how much it may be worse than before the request."""

    def __post_init__(self) -> None:
        """Raise `Refused` for a measure that does not exist, or is neither good high nor low."""
        checks.fields(self)
        _require_measure(self, self.measure)
        if CARDS[self.measure].better == "retrained":
            rest = f"={self.measure} is best where retraining is: make it one of targets."
            raise checks.field_refused(self, "measure", rest)

    @property
    def words(self) -> str:
        """What is asked for, as a table says it."""
        return f"worse by at most {self.margin:g} than before"

    def miss(self, before: float, after: float, verdict: str) -> str:
        """Return what is wrong, or nothing."""
        lost = before - after if CARDS[self.measure].better == "higher" else after - before
        if lost <= self.margin or math.isclose(lost, self.margin, rel_tol=1e-9):
            return ""
        return f"{before:.4g} became {after:.4g}, worse by more than {self.margin:g}"


@dataclass(frozen=True, slots=True)
class Goals:
    """Both lists; each goal is of another measure."""

    targets: tuple[Target, ...] = ()
    utilities: tuple[Utility, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any goal."""
        return bool(self.targets or self.utilities)

    def __iter__(self) -> Iterator[Target | Utility]:
        """Go through all of them."""
        yield from self.targets
        yield from self.utilities

    @classmethod
    def of(cls, targets: object, utilities: object) -> "Goals":
        """Read lists of mappings, as configurations hold them; raise `Refused` for wrong ones."""
        made = cls(
            tuple(_read("targets", Target, targets)), tuple(_read("utilities", Utility, utilities))
        )
        names = [goal.measure for goal in made]
        for name in names:
            if names.count(name) > 1:
                raise Refused(f"targets and utilities name {name} twice; leave one of them out.")
        return made


def misses(
    goals: Goals,
    summary: Iterable[Mapping[str, Any]],
    metrics: pd.DataFrame,
    verdicts: pd.DataFrame,
) -> dict[Case, tuple[str, ...]]:
    """Return which goals each row of a ``summary`` missed, as ``measure: what is wrong``.

    ``metrics`` are rows of metrics.csv, whose two `ends` of a request count; ``verdicts`` those of
    verdicts.csv, which stand for all seeds. A retrained model is as retrained. Nothing can be told
    of a measure without a number, nor of a trigger that did not take: both are missed.
    """
    named = metrics[metrics["metric"].isin([goal.measure for goal in goals])]
    values = ends(named, CASE).to_dict("index")
    said = verdicts.set_index(["request", "strategy", "metric"])["verdict"].to_dict()
    found = {}
    for row in summary:
        case = Case(row["seed"], row["strategy"], row["request"])
        found[case] = tuple(
            f"{goal.measure}: {wrong}"
            for goal in goals
            if (wrong := _miss(goal, case, row, values, said))
        )
    return found


def _miss(
    goal: Target | Utility,
    case: Case,
    row: Mapping[str, Any],
    values: Mapping[Any, Mapping[Any, float]],
    said: Mapping[Any, str],
) -> str:
    """Return what one model misses of one goal, or nothing."""
    both = values.get((case.seed, case.strategy, case.request, goal.measure))
    if both is None or not math.isfinite(both["after"]):
        return "there is no number"
    if CARDS[goal.measure].planted and row["probe"] == DID_NOT_TAKE:
        return "the trigger did not take"
    if is_reference(case.strategy):
        verdict = "inside"
    else:
        verdict = said.get((case.request, case.strategy, goal.measure), "")
    return goal.miss(both["before"], both["after"], verdict)


def _require_measure(made: Target | Utility, name: str) -> None:
    if name not in CARDS:
        rest = f"={name} does not exist{checks.nearest(name, CARDS)}"
        raise checks.field_refused(made, "measure", rest)


def _read(name: str, kind: type[Goal], listed: object) -> Iterator[Goal]:
    """Read one list."""
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise Refused(f"{name} must be a list, not {checks.shown(listed)}.")
    names = [field.name for field in fields(kind)]
    for place, one in enumerate(listed):
        if not isinstance(one, Mapping) or "measure" not in one or set(one) - set(names):
            raise Refused(
                f"{name}[{place}] must name {' and '.join(names)}, not {checks.shown(one)}."
            )
        try:
            yield kind(**one)
        except FieldRefused as refusal:
            raise refusal.at(f"{name}[{place}]") from None
