"""The certificates of a run, drafted from what its seeds noted."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from fedunlearn.experiment.checkpoint import Notes
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.provenance import commit
from fedunlearn.results import NO_VERDICT, NOBODY_NAMED, Case
from fedunlearn.results.certificates import (
    Audited,
    Certificate,
    Purged,
    Served,
    config_hash,
    draft,
    hyperparameters,
)


def drafts(
    experiment: Experiment,
    summary: Sequence[Mapping[str, Any]],
    answers: pd.DataFrame,
    notes: Notes,
    config: Mapping[str, object],
    checksums: Mapping[str, str],
    owners: Mapping[int, str] = NOBODY_NAMED,
) -> Iterator[Certificate]:
    """Draft a certificate for each row of a run's ``summary`` that could be judged.

    Where a retrained model is no working model there is nothing to compare with, and no
    certificate: `NO_VERDICT` in ``answers``, the run's own.

    What all strategies read of a seed was removed once for all of them: ``notes`` say what, and
    what the model before each request was, and ``checksums`` what that after it is.
    ``owners`` are what people call clients.
    """
    fingerprint, running = config_hash(config), commit()
    before = {original[:3]: original.model_hash for original in notes.originals}
    erased = {(note["seed"], note["request"]): note for note in notes.erased}
    by_case = answers.set_index(["strategy", "request"])
    unjudged = set(answers.loc[answers["answer"] == NO_VERDICT, "request"])
    for row in summary:
        seed, name, number = row["seed"], row["strategy"], row["request"]
        if number in unjudged:
            continue
        note = erased[seed, number]
        answer = by_case.loc[(name, number)] if (name, number) in by_case.index else None
        strategy = experiment.branches[name]
        served = Served(
            round=experiment.requests[number - 1].after,
            hyperparameters=hyperparameters(strategy),
            model_before=before[seed, name, number],
            model_after=checksums[Case(seed, name, number).model_file],
            purged=tuple(map(_purged, note["purged"])),
            audit=Audited(tuple(note["findings"]), note["files"], note["objects"], note["blank"]),
            assumptions=getattr(strategy, "assumptions", ()),
        )
        yield draft(
            row,
            summary,
            served,
            thresholds=experiment.thresholds,
            answer="" if answer is None else str(answer["answer"]),
            reason="" if answer is None else str(answer["reason"]),
            config_sha256=fingerprint,
            commit=running,
            owners=owners,
        )


def _purged(step: Mapping[str, Any]) -> Purged:
    return Purged(
        step["file"],
        tuple(step["clients"]),
        step["nbytes"],
        "deleted" if step["deleted"] else "rewritten",
    )
