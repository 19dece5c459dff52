"""The answers of all runs of a multirun on the terminal: one line a run, request and strategy."""

from pathlib import Path

from rich.table import Table

from fedunlearn.results.answer_table import (
    ANSWER_WIDTH,
    answer_in_words,
    multiple_of_retraining,
    points_of_accuracy,
)
from fedunlearn.results.branches import RETRAIN_AGAIN, UNTOUCHED
from fedunlearn.results.index import overrides_of
from fedunlearn.results.run_files import find_runs, load_answers
from fedunlearn.results.terminal import terminal_table

CONTROLS = (UNTOUCHED, RETRAIN_AGAIN)
"""What stands in every run beside its own strategies; left out unless it stands alone."""


def printed_runs(folder: Path) -> Table:
    """Return what each run in ``folder`` overrode, and what came of each of its strategies.

    What all overrode alike stands above the table. A run without answers, since it failed or nobody
    left, has a line that says so. Raises `Refused` for files that are not as written.
    """
    overrides = {run: overrides_of(run) for run in find_runs(folder)}
    first, *others = overrides.values()
    alike = [override for override in first if all(override in other for other in others)]
    with_all = f", all with {' '.join(alike)}" if alike and others else ""
    count = "1 run" if not others else f"{len(overrides)} runs"
    table = terminal_table(
        "Run", title=f"{count}{with_all}", first_to_go=("Request", "Bytes", "Work")
    )
    for heading in ("Overrides", "Strategy", "Request"):
        table.add_column(heading, overflow="fold")
    for heading in ("Accuracy", "Work", "Bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Answer", no_wrap=True, overflow="ellipsis", min_width=ANSWER_WIDTH, ratio=1)
    for run, given in overrides.items():
        differing = given if not others else [one for one in given if one not in alike]
        begin = (run.relative_to(folder).as_posix(), " ".join(differing))
        if not (run / "answers.csv").is_file():
            table.add_row(*begin, "", "", "", "", "", "no answer")
            continue
        answers = load_answers(run)
        own = answers[~answers["strategy"].isin(CONTROLS)]
        for row in (answers if own.empty else own).to_dict("records"):
            table.add_row(
                *begin,
                str(row["strategy"]),
                str(row["request"]),
                points_of_accuracy(100 * row["accuracy_gap"]),
                *(multiple_of_retraining(row[name]) for name in ("work", "bytes")),
                answer_in_words(row["answer"], row["apart"]),
            )
    return table
