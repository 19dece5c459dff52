"""What all tables on the terminal have in common."""

import io

from rich.console import Console

from fedunlearn.results import TABLE_WIDTH, marked, plain_console, terminal_table, wide_enough


def test_numbers_stand_to_the_right_and_the_first_column_never_wraps():
    table = terminal_table("Strategy", ["A", "Much\nlonger"], title="Costs")
    table.add_row("a name with blanks", "1", "22")
    text = io.StringIO()
    Console(file=text, width=40).print(table)
    title, above, headings, _, row = text.getvalue().splitlines()
    assert title.strip() == "Costs"
    assert above.split() == ["Much"]  # headings stand at the bottom
    assert headings.split() == ["Strategy", "A", "longer"]
    assert row.rstrip() == "a name with blanks  1      22"


def test_only_retraining_stands_out():
    assert marked("retrain") == ("► retrain", "bold")
    assert marked("retrain-2") == ("retrain-2", "")
    assert marked("rapid_retrain") == ("rapid_retrain", "")


def test_a_console_that_is_no_terminal_is_wide_enough_for_tables():
    assert plain_console().width == TABLE_WIDTH or plain_console().is_terminal
    assert wide_enough(Console(file=io.StringIO(), width=20)).width == TABLE_WIDTH
    terminal = Console(file=io.StringIO(), width=20, force_terminal=True)
    assert wide_enough(terminal).width == 20
