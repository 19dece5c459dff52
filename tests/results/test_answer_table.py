"""The answers on the terminal: a line each, whole numbers, nothing to look up."""

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from fedunlearn.results import ANSWER_COLUMNS, CARDS, Margins, answer_notes, printed_answers

WORDS = ("as retrained", "broken", "undecided", "nothing to forget", "no verdict")


def row(strategy="federaser", answer="remembers", apart="forget_accuracy", **more):
    values = {"request": 1, "strategy": strategy, "answer": answer, "p_value": 0.01, "apart": apart}
    values |= {"to_forget": "yes", "accuracy_gap": -0.123, "work": 0.25, "bytes": 0.5}
    return {**values, "reason": f"Because of {answer}.", **more}


def lines(*rows, width=80):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(printed_answers(pd.DataFrame(rows, columns=list(ANSWER_COLUMNS)), "client 0"))
    return console.file.getvalue().replace("\N{MINUS SIGN}", "-").splitlines()


@pytest.mark.parametrize("metric", [name for name, card in CARDS.items() if card.judged])
@pytest.mark.parametrize("answer", ["remembers", "damaged"])
def test_each_strategy_is_one_line_of_80_columns_with_whole_numbers(metric, answer):
    name = "federaser(scope=client_tensor,interval=12,effort=0.5)"
    made = row(name, answer, metric, accuracy_gap=-0.877, work=1234.5, bytes=12345.6)
    title, _, _, line = lines(made)[:4]
    assert "client 0" in title
    assert len(line.rstrip()) <= 80
    assert "-87.7" in line
    assert "1,234x" in line
    assert "12,346x" in line
    assert answer in line
    assert len(lines(made)) == 4


@pytest.mark.parametrize("word", WORDS)
def test_every_other_answer_stands_as_it_is(word):
    line = lines(row(answer=word, apart="", accuracy_gap=math.nan, work=0.0, bytes=math.nan))[3]
    assert word in line
    assert "nan" not in line


def test_requests_have_a_heading_where_there_are_several():
    text = lines(row(), row(request=2))
    assert [line for line in text if line.startswith("Request")] != []


def test_reasons_are_given_once_for_all_that_share_them_and_margins_are_shown():
    open_ones = [row(name, "undecided", reason="Too few.") for name in ("a", "b")]
    table = pd.DataFrame(
        [row(), *open_ones, row("c", reason="It lies. Its models are those of d.")]
    )
    notes = list(answer_notes(table, Margins(spread=2.5)))
    assert notes.count("a, b: Too few.") == 1
    assert any("2.5 standard deviations" in note for note in notes)
    assert any(note.startswith("c: ") for note in notes)
    assert not any("Because of remembers" in note for note in notes)
