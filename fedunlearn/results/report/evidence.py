"""Everything that a report is made of, read from a run's folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.results import (
    ATTACK_COLUMNS,
    ATTACKS_FILE,
    RETRAIN_AGAIN,
    Case,
    Run,
    further_references,
    is_reference,
    load,
    load_answers,
    load_verdicts,
    read_derived,
    typed,
    who_pays,
)
from fedunlearn.results.certificates import read
from fedunlearn.results.costing import Devices
from fedunlearn.results.report.answers import SIGNS


@dataclass(frozen=True, slots=True)
class Capability:
    """What a strategy says of itself."""

    strategy: str
    idea: str
    stores: str
    works: str
    promises: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What a run's files do not tell by themselves: somebody must build its configuration."""

    capabilities: Sequence[Capability] = ()
    gathering: frozenset[str] = frozenset()
    """The strategies for which clients gather statistics before training."""
    devices: Mapping[str, Devices] = field(default_factory=dict)
    """On which devices the time to forget is told, by the names of columns."""


@dataclass(frozen=True, slots=True)
class Certified:
    """The outcome of one deletion certificate."""

    case: Case
    forgotten: bool | None
    """None where no thresholds were set."""
    findings: int
    """Traces of the leavers that the audit found."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run, and what was concluded from it."""

    run: Run
    verdicts: pd.DataFrame
    """Empty where there are too few seeds or references to judge."""
    answers: pd.DataFrame
    """One word a strategy and request."""
    paid: pd.DataFrame
    """What forgetting cost each remaining client; empty where that was not measured."""
    attacks: pd.DataFrame
    """What `fedunlearn attack` found; empty where nobody attacked."""
    certificates: Sequence[Certified]
    declared: Declared

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's configuration."""
        content = self.run.manifest.get("config")
        return content if isinstance(content, dict) else {}

    @property
    def strategies(self) -> list[str]:
        """All strategies but retraining, as they come."""
        names = dict.fromkeys(self.run.summary["strategy"])
        return [name for name in names if not is_reference(name)]


def gather(folder: Path, declared: Declared) -> Evidence:
    """Read a run; raises `Refused` where it cannot be read."""
    run = load(folder)
    said = load_answers(folder)
    _require_agreement(folder, said, run.summary)
    return Evidence(
        run=run,
        verdicts=load_verdicts(folder),
        answers=said,
        paid=burdens(run),
        attacks=attacks(folder),
        certificates=certificates(folder),
        declared=declared,
    )


def _require_agreement(folder: Path, said: pd.DataFrame, summary: pd.DataFrame) -> None:
    """Raise `Refused` unless answers are about the summary's cases: one of them was edited."""
    served = {(r, s) for r, s in _cases(summary) if not is_reference(s)}
    told = [(r, s) for r, s in _cases(said) if not is_reference(s) and s != RETRAIN_AGAIN]
    if sorted(told) != sorted(served) or not set(said["answer"]) <= set(SIGNS):
        raise Refused(
            f"{folder / 'answers.csv'} does not answer for each strategy and request of "
            "summary.csv: one of the two was changed. Bring back intact copies."
        )


def _cases(table: pd.DataFrame) -> Iterator[tuple[int, str]]:
    return zip(table["request"], table["strategy"], strict=True)


def burdens(run: Run) -> pd.DataFrame:
    """Return each remaining client's accuracy before and after; empty where it is not known."""
    clients = who_pays(run.metrics, run.summary, run.clients)
    return clients[~further_references(clients)] if len(clients) else clients


def attacks(folder: Path) -> pd.DataFrame:
    """Return the rows of attacks.csv, or none; raises `Refused` where it is no such file."""
    path = folder / ATTACKS_FILE
    try:
        content = read_derived(folder, ATTACKS_FILE)
        if content is None:
            return pd.DataFrame(columns=list(ATTACK_COLUMNS))
        return typed(path, content.decode(), ATTACK_COLUMNS)
    except (Refused, UnicodeDecodeError) as error:
        raise Refused(
            f"{path} is no table of attacks ({files.reason(error)}). Delete it, or write it anew: "
            f"`fedunlearn attack {folder}`."
        ) from error


def certificates(folder: Path) -> list[Certified]:
    """Return what the certificates of a run say, in the order of their names.

    They are compared with each other; `fedunlearn verify` compares them with the files as well.
    """
    return [
        Certified(made.case, made.forgotten, len(made.served.audit.findings))
        for made in sorted(read(folder).certificates, key=lambda made: made.name)
    ]
