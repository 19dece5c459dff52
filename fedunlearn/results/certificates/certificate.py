"""What a deletion certificate says: who left, what was done about it, and how far that got."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

from fedunlearn import __version__
from fedunlearn.results import COST_COLUMNS, EVERYTHING, NOBODY_NAMED, SHARED_TRAINING, Case, Wish
from fedunlearn.results.certificates.thresholds import Judged, Thresholds, conclusion, judged

FIRST = "0" * 64
"""Stands for the previous certificate in the first one."""

TIME = "%Y-%m-%dT%H:%M:%SZ"
"""ISO 8601 in UTC, to the second."""

_SHA256 = re.compile("[0-9a-f]{64}")

Action = Literal["rewritten", "deleted"]


@dataclass(frozen=True, slots=True)
class Purged:
    """One file from which something of the leavers was removed."""

    file: str
    """Relative to the run's folder, with ``/``."""
    clients: tuple[int, ...]
    """Those whose part was removed."""
    bytes: int
    """By how many the file became smaller."""
    action: Action

    def __post_init__(self) -> None:
        """Raise ValueError for a place outside the run's folder and for an unknown action."""
        place = PurePosixPath(self.file)
        if place.is_absolute() or ".." in place.parts:
            raise ValueError(f"{self.file} does not lie in the run's folder")
        if self.action not in ("rewritten", "deleted"):
            raise ValueError(
                f"{self.file} was {self.action}, which is neither deleted nor rewritten"
            )


@dataclass(frozen=True, slots=True)
class Audited:
    """Where the leavers were looked for after the purge, and what was left of them."""

    findings: tuple[str, ...]
    """A sentence for each trace; none is what should be."""
    files: int
    """How many files were searched."""
    objects: int
    """From how many objects in memory the search started; it follows all that they lead to."""
    blank: int = 0
    """How many updates were too short or too common to be recognised, and not looked for."""

    def __post_init__(self) -> None:
        """Raise ValueError for an audit that searched nothing: it would always be clean."""
        if self.files + self.objects == 0:
            raise ValueError("the audit searched nothing")


@dataclass(frozen=True, slots=True)
class Served:
    """What is noted while a request is being served; the certificate needs it at the end."""

    round: int
    """The training round after which the request came."""
    hyperparameters: Mapping[str, object]
    model_before: str
    """`models.model_hash` of the model before unlearning."""
    model_after: str
    """The same after unlearning and recovery."""
    purged: tuple[Purged, ...]
    audit: Audited
    assumptions: tuple[str, ...] = ()
    """A sentence for each thing that a strategy's (epsilon, delta) takes for granted."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """All that is said of one request; of the leavers their numbers, and names if they have any."""

    seed: int
    strategy: str
    request: int
    """From 1."""
    clients: tuple[int, ...]
    """Who asked, ascending."""
    served: Served
    costs: Mapping[str, float]
    """What unlearning and recovery cost: the last columns of summary.csv."""
    metrics: tuple[Judged, ...]
    config_sha256: str
    """`config_hash` of the run's resolved configuration."""
    fedunlearn: str
    """The version."""
    commit: str | None
    """The git commit of the code, where it ran from a checkout."""
    issued: str
    answer: str = ""
    """The word of answers.csv for the strategy; empty where there is none."""
    reason: str = ""
    """Why that is the answer."""
    owners: tuple[str, ...] = ()
    """What people call those who asked, one for each, where the data set names owners."""
    scope: str = EVERYTHING
    """Which of their records were to be forgotten, as in summary.csv."""
    previous: str = FIRST
    """SHA-256 of the JSON file of the certificate before this one; `chain.issue` sets it."""

    def __post_init__(self) -> None:
        """Raise ValueError for hashes, times and clients that are none."""
        hashes = (self.config_sha256, self.model_before, self.model_after, self.previous)
        for digest in hashes:
            if not _SHA256.fullmatch(digest):
                raise ValueError(f"{digest!r} is no SHA-256")
        if datetime.strptime(self.issued, TIME).strftime(TIME) != self.issued:
            raise ValueError(f"{self.issued!r} is no time")
        if list(self.clients) != sorted(set(self.clients)):
            raise ValueError(f"clients {list(self.clients)} are not ascending")
        if self.owners and len(self.owners) != len(self.clients):
            raise ValueError(f"{len(self.owners)} owners stand for {len(self.clients)} clients")

    @property
    def wish(self) -> Wish:
        """What was to be forgotten, in words."""
        named = dict(zip(self.clients, self.owners, strict=False))
        return Wish("+".join(map(str, self.clients)), self.scope, named)

    @property
    def case(self) -> Case:
        """What it is about."""
        return Case(self.seed, self.strategy, self.request)

    @property
    def name(self) -> str:
        """The name of its files, without their endings; the model after it has the same."""
        return self.case.name

    @property
    def model_before(self) -> str:
        """SHA-256 of the model before the request."""
        return self.served.model_before

    @property
    def model_after(self) -> str:
        """SHA-256 of the model after unlearning and recovery."""
        return self.served.model_after

    @property
    def models(self) -> dict[str, str]:
        """The run's files that hold the models, and their SHA-256.

        The model before a second request is not kept: training went on since the first.
        """
        after = {self.case.model_file: self.model_after}
        if self.request > 1:
            return after
        return {Case(self.seed, SHARED_TRAINING, 0).model_file: self.model_before, **after}

    @property
    def forgotten(self) -> bool | None:
        """Whether all is within the thresholds and the audit clean; None where none are set."""
        return conclusion(self.metrics, self.served.audit.findings, self.answer)[0]

    @property
    def verdict(self) -> str:
        """The same as a sentence."""
        return conclusion(self.metrics, self.served.audit.findings, self.answer)[1]


def draft(
    row: Mapping[str, object],
    summary: Sequence[Mapping[str, object]],
    served: Served,
    *,
    thresholds: Thresholds,
    config_sha256: str,
    commit: str | None,
    answer: str = "",
    reason: str = "",
    owners: Mapping[int, str] = NOBODY_NAMED,
) -> Certificate:
    """Write the certificate of one row of a run's ``summary``, to be issued in a chain.

    ``summary`` holds the rows of all seeds: the spread of the retrained values comes from them.
    ``answer`` and ``reason`` are the run's about the strategy, where there are any.
    """
    clients = sorted(int(client) for client in str(row["clients"]).split("+") if client)
    return Certificate(
        seed=_whole(row["seed"]),
        strategy=str(row["strategy"]),
        request=_whole(row["request"]),
        clients=tuple(clients),
        served=served,
        costs={
            name: _whole(row[name]) if kind == "int64" else float(row[name])  # type: ignore[arg-type]
            for name, kind in COST_COLUMNS.items()
        },
        metrics=judged(row, summary, thresholds),
        config_sha256=config_sha256,
        fedunlearn=__version__,
        commit=commit,
        issued=datetime.now(UTC).strftime(TIME),
        answer=answer,
        reason=reason,
        owners=tuple(owners[client] for client in clients) if owners else (),
        scope=str(row.get("scope", EVERYTHING)),
    )


def config_hash(config: Mapping[str, object]) -> str:
    """Return the SHA-256 of a resolved configuration as it stands in manifest.json.

    That is of its JSON with sorted keys and without white space, in UTF-8.
    """
    read_back = json.loads(json.dumps(config))  # makes every key a string, so that they sort
    text = json.dumps(read_back, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _whole(value: object) -> int:
    return int(value)  # type: ignore[call-overload, no-any-return]
