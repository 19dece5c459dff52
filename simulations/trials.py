"""What a search has tried so far, as two tables in its folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from fedunlearn import files

RUN = "run"
"""The trial's attribute that holds the number of its folder; a repeated trial has none."""

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def carried_out(study: Study) -> list[FrozenTrial]:
    """Return the trials that have a folder: all but those that repeat another."""
    return [trial for trial in study.get_trials(deepcopy=False) if RUN in trial.user_attrs]


def front(study: Study) -> list[FrozenTrial]:
    """Return the trials that no other one beats: at least as good in all, better in one."""
    mine = [trial for trial in carried_out(study) if trial.state is TrialState.COMPLETE]
    return [trial for trial in mine if not any(_beats(other, trial) for other in mine)]


def _beats(one: FrozenTrial, other: FrozenTrial) -> bool:
    """Whether ``one`` is nowhere worse than ``other``, and somewhere better; less is better."""
    if one.state is not TrialState.COMPLETE:
        return False
    pairs = list(zip(one.values, other.values, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def table(
    trials: Iterable[FrozenTrial], searched: Sequence[str], objectives: Sequence[str]
) -> pd.DataFrame:
    """Return a row a trial: its run, its state, what was tried, and what came of it."""
    rows = [
        {
            RUN: trial.user_attrs[RUN],
            "state": STATES[trial.state],
            **{key: trial.params.get(key) for key in searched},
            **dict(zip(objectives, trial.values or [None] * len(objectives), strict=True)),
        }
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=[RUN, "state", *searched, *objectives])


def told(study: Study, objectives: Sequence[str], *, first: bool) -> str:
    """Say how the search went; ``first`` says that run 0 was the configuration as it stood."""
    every, best = carried_out(study), front(study)
    failed = sum(trial.state is TrialState.FAIL for trial in every)
    text = (
        f"{len(every)} runs, {failed} failed; {len(best)} on the Pareto front of "
        f"{', '.join(objectives)}.\n"
    )
    if first and every and every[0].state is TrialState.COMPLETE:
        better = [str(trial.user_attrs[RUN]) for trial in every if _beats(trial, every[0])]
        by = f"is beaten by {', '.join(better)}" if better else "is beaten by none"
        text += f"Run 0, the configuration as it stood, {by}.\n"
    return text


def write(folder: Path, study: Study, searched: Sequence[str], objectives: Sequence[str]) -> None:
    """Replace trials.csv, all trials by number, and pareto.csv, the front by first objective."""
    every = table(carried_out(study), searched, objectives)
    best = table(front(study), searched, objectives).sort_values([*objectives, RUN])
    for name, rows in (("trials", every), ("pareto", best.drop(columns="state"))):
        content = rows.to_csv(index=False, lineterminator="\n")
        files.write(folder / f"{name}.csv", content.encode())
