"""The tables of strategies in README.md and docs/ say what the code declares."""

import re
from functools import cache
from pathlib import Path

import pytest

from fedunlearn.simulations import docs_tables as tables
from strategies.fedaccum import FedAccum

ROOT = Path(__file__).parents[2]


pages = cache(tables.pages)


@pytest.mark.parametrize("path", sorted(pages()), ids=lambda path: path.name)
def test_a_page_is_up_to_date(path):
    assert path.read_text() == pages()[path], "run: python -m simulations.docs_tables"


def test_every_strategy_has_a_row_and_says_who_works():
    rows = [line for line in tables.overview().splitlines() if line.startswith("| [`")]
    assert len(rows) == len(tables.names())
    (retrain,) = [row for row in rows if row.startswith("| [`retrain`]")]
    assert retrain.endswith("| nothing | those who remain | exact |")


def test_values_are_those_of_the_configuration():
    assert "| `interval` | `1` |" in tables.facts("fedaccum")
    assert FedAccum().interval == 1
    assert "| `work.optimizer.lr` |" in tables.facts("subtraction")
    assert tables.facts("none").endswith("| promises | none |")


def test_only_what_stands_between_marks_changes():
    text = "a\n<!-- generated: x -->\nold | \\1\n<!-- end -->\nb\n"
    filled = tables.filled(text, {"x": "| new |"})
    assert filled == "a\n<!-- generated: x -->\n\n| new |\n\n<!-- end -->\nb\n"
    assert tables.filled(filled, {"x": "| new |"}) == filled


def test_every_strategy_has_one_place_in_the_table_of_cases():
    rows = [line.split("|")[1:-1] for line in tables.cases().splitlines()[2:]]
    placed = {
        name: (row[0].strip(), column)
        for row in rows
        for column, cell in enumerate(row)
        for name in re.findall(r"`(\w+)`", cell)
    }
    assert sorted(placed) == tables.names()
    assert sum(cell.count("`") for row in rows for cell in row) == 2 * len(placed)
    assert placed["retrain"] == ("nothing", 3)
    assert placed["fedaccum"] == ("updates", 1)
    assert placed["subtraction"] == ("updates", 2)
    assert placed["pga"] == ("updates", 4)
    assert placed["ridge_head"] == ("sums of features", 1)


ELSEWHERE = {"strategy", "debug", "hydra"}
"""Groups that the README describes in other places."""
A_CHOICE_EACH = {"sweep": "one a strategy"}


def _rows_of_groups():
    text = (ROOT / "README.md").read_text()
    return dict(
        re.findall(r"^\| `(\w+)` \| (.*) \|$", text.partition("| group |")[2], re.MULTILINE)
    )


@pytest.mark.parametrize(
    "group",
    sorted({path.parent.name for path in (ROOT / "conf").glob("*/*.yaml")} - ELSEWHERE),
)
def test_the_readme_names_every_choice_of_a_group(group):
    row = _rows_of_groups()[group]
    if group in A_CHOICE_EACH:
        assert A_CHOICE_EACH[group] in row
        return
    choices = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert choices - set(re.findall(r"`(\w+)`", row)) == set()
