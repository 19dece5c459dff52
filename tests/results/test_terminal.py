"""What all tables on the terminal have in common."""

import io
import random

import pytest
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


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("seed", range(5))
def test_no_number_breaks_and_columns_go_in_the_stated_order(width, seed):
    rng = random.Random(seed)
    headings = [f"{letter}{'x' * rng.randint(0, 9)}" for letter in "abcdefgh"[: 2 + seed]]
    order = rng.sample(headings[1:], k=len(headings) // 2)
    rest = [heading for heading in reversed(headings) if heading not in order]
    table = terminal_table("Name", headings, title="Table", first_to_go=order)
    columns = {
        heading: [f"{rng.uniform(1, 10 ** rng.randint(1, 7)):.2f}" for _ in range(4)]
        for heading in headings
    }
    for row in zip(*columns.values(), strict=True):
        table.add_row("n" * rng.randint(3, 50), *row)
    output = io.StringIO()
    Console(file=output, width=width, force_terminal=True, color_system=None).print(table)
    body, _, caption = output.getvalue().partition("No room for: ")
    gone = [heading.strip(",") for heading in caption.split()]
    assert gone == [*order, *rest][: len(gone)]
    for heading, cells in columns.items():
        assert all((cell in body.split()) == (heading not in gone) for cell in cells)
    assert max(map(len, body.splitlines())) <= width
    assert bool(gone) <= (width < 100)
