"""The answers on the terminal: one line a strategy, and below it what was left open and why."""

import math
from collections.abc import Iterator

import pandas as pd
from rich.table import Table

from fedunlearn.results.branches import RETRAIN_AGAIN
from fedunlearn.results.margins import Margins
from fedunlearn.results.terminal import NAME_WIDTH, terminal_table
from fedunlearn.results.wording import MINUS_SIGN, NO_NUMBER, plain_label

WIDTH = 80
"""Columns that the answers fit into."""

ANSWER_WIDTH = 24
"""Columns that the answers keep, whatever goes."""

SAID = {
    "as retrained": "forgotten: as retrained",
    "remembers": "remembers",
    "damaged": "damaged",
    "broken": "broken",
    "undecided": "undecided",
    "nothing to forget": "nothing to forget",
    "no verdict": "no verdict",
}
"""What is said of a strategy, for each answer."""

LEGEND = (
    "Accuracy: points on test records, next to retraining. Work, bytes: multiples of retraining's. "
    f"{RETRAIN_AGAIN}: one retrained model a seed, judged by the others."
)
"""How to read the table."""

TWINS = "models are those of"
"""Stands in the reason of a strategy whose models another one has as well."""


def printed_answers(answers: pd.DataFrame, leavers: str) -> Table:
    """Return one line a strategy: forgotten or not, points of accuracy, work and bytes.

    ``leavers`` says who left. It fits `WIDTH` columns, and no number is broken.
    """
    table = terminal_table(
        "Strategy",
        ("Accuracy", "Work", "Bytes"),
        title=f"Can anybody tell that {leavers} had been there?",
        first_to_go=("Bytes", "Work"),
    )
    table.width = WIDTH
    table.columns[0].max_width, table.columns[0].overflow = NAME_WIDTH, "ellipsis"
    for column in table.columns[1:]:
        column.no_wrap = True
    table.add_column("Answer", no_wrap=True, overflow="ellipsis", ratio=1, min_width=ANSWER_WIDTH)
    for request, rows in answers.groupby("request"):
        if answers["request"].nunique() > 1:
            table.add_row(f"Request {request}", style="italic")
        for row in rows.to_dict("records"):
            costs = (multiple_of_retraining(row[name]) for name in ("work", "bytes"))
            told = answer_in_words(row["answer"], row["apart"])
            table.add_row(
                str(row["strategy"]), points_of_accuracy(100 * row["accuracy_gap"]), *costs, told
            )
        table.add_section()
    return table


def answer_notes(answers: pd.DataFrame, margins: Margins) -> Iterator[str]:
    """Yield sentences: how to read the table, and once for all alike why what is open is open."""
    yield LEGEND
    if answers["answer"].isin(["remembers", "damaged", "as retrained"]).any():
        yield (
            "Remembers, damaged: told apart by a test over all measures, which errs for 5 % of "
            "retrained models. As retrained: every measure about the leavers that could tell is "
            f"within {margins.spread:g} standard deviations of retraining."
        )
    clear = answers["answer"].isin(["remembers", "damaged", "as retrained"])
    told = answers[~clear | answers["reason"].str.contains(TWINS, regex=False)]
    for reason, rows in told.groupby("reason", sort=False):
        yield f"{', '.join(dict.fromkeys(rows['strategy']))}: {reason}"


def answer_in_words(answer: str, apart: object) -> str:
    """Write an answer, with the surest measure where models are told apart."""
    if answer not in ("remembers", "damaged"):
        return SAID[answer]
    label = plain_label(str(apart).split("+")[0])
    short = label.replace(" on the leaver's", ", leaver's")
    return f"{SAID[answer]}: {short}"


def points_of_accuracy(points: float) -> str:
    """Write a gain or loss of accuracy, in percentage points."""
    return NO_NUMBER if math.isnan(points) else f"{points:+z.1f}".replace("-", MINUS_SIGN)


def multiple_of_retraining(times: float) -> str:
    """Write a cost as a multiple of retraining's."""
    if math.isnan(times):
        return NO_NUMBER
    if times == 0:
        return "0"
    return f"{times:.2f}x" if times < 10 else f"{times:,.0f}x"
