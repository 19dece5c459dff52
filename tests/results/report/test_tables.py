from dataclasses import replace

import pandas as pd
import pytest

from fedunlearn.results import MINUS_SIGN, load, reductions
from fedunlearn.results.frames import label
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table, measure, number, with_best
from fedunlearn.results.report.latex import PAGE, document, escape, latex
from fedunlearn.results.report.markdown import markdown
from fedunlearn.results.report.reduced import reduced
from fedunlearn.results.report.standings import everything, in_rank, standings
from tests.support.report_tables import summary, verdicts

NOTHING = float("nan")


def rows(**values):
    """One metric, ``forget_accuracy``, of each strategy; retraining has 0.3."""
    found = {"retrain": {"forget_accuracy": 0.3, "forget_accuracy_gap": 0.0}}
    for name, value in values.items():
        found[name] = {"forget_accuracy": value, "forget_accuracy_gap": value - 0.3}
    return found


def column(table, heading):
    place = table.headings.index(heading)
    return {row[0].text: row[place] for row in table.rows}


def test_numbers_have_a_true_minus_no_negative_zero_and_a_dash_for_none():
    assert number(-1234.56, 1) == f"{MINUS_SIGN}1,234.6"
    assert number(-0.04, 1) == "0.0"
    assert number(NOTHING, 1) == NO_NUMBER
    assert number(float("inf"), 1) == NO_NUMBER


def test_a_mean_over_seeds_is_none_where_one_seed_diverged():
    assert measure(pd.Series([0.25, 0.75]), 1, 100) == Cell("50.0", "35.4")
    assert measure(pd.Series([0.25, NOTHING]), 1) == Cell(NO_NUMBER)
    assert measure(pd.Series([0.25]), 2) == Cell("0.25")
    assert measure(pd.Series([], dtype=float), 2) == Cell(NO_NUMBER)


@pytest.mark.parametrize(
    ("badness", "best"),
    [
        ([2.0, 1.0, 3.0], [False, True, False]),
        ([1.0, 1.0 + 1e-13, 3.0], [True, True, False]),
        ([NOTHING, 1.0, 2.0], [False, True, False]),
        ([1.0, NOTHING], [False, False]),
    ],
)
def test_the_best_are_marked_ties_together_and_nobody_alone(badness, best):
    cells = with_best([Cell("x")] * len(badness), badness)
    assert [cell.best for cell in cells] == best


def test_nearest_to_retraining_is_best_not_the_lowest():
    table = standings(summary(rows(low=0.1, near=0.35)), verdicts({}), ["low", "near"], 1)
    found = column(table, "Accuracy on the leaver's records (%)")
    assert found["retrain"] == Cell("30.0")
    assert found["near"] == Cell("35.0", best=True)
    assert found["low"] == Cell("10.0")


def test_higher_accuracy_is_best_and_lower_cost():
    values = {"retrain": {"test_accuracy": 0.99, "client_epochs": 500.0}}
    values |= {"a": {"test_accuracy": 0.9, "client_epochs": 10.0}}
    values |= {"b": {"test_accuracy": 0.8, "client_epochs": 5.0}}
    table = standings(summary(values), verdicts({}), ["a", "b"], 1)
    assert [cell.best for cell in column(table, "Test accuracy (%)").values()] == [0, 1, 0]
    assert [cell.best for cell in column(table, "Client epochs").values()] == [0, 0, 1]


def test_verdicts_stand_in_the_cells_and_are_explained_below():
    judged = verdicts({"a": {"forget_accuracy": "under-forgotten"}})
    again = verdicts({"retrain again": {"forget_accuracy": "inside"}})
    table = standings(summary(rows(a=0.9)), pd.concat([judged, again]), ["a"], 1)
    found = column(table, "Accuracy on the leaver's records (%)")
    assert [row[0].text for row in table.rows] == ["retrain", "retrain again", "a"]
    assert found["a"].verdict == "under-forgotten"
    assert found["a"].symbol == "▲"
    assert found["retrain again"] == Cell("50.0", verdict="inside")
    assert "▲ under-forgotten: outside it, and the leaver is still remembered" in table.notes[1]
    assert "over-forgotten" not in table.notes[1]


def test_every_measure_has_a_row_in_the_order_of_the_glossary():
    values = rows(a=0.9)
    values["a"]["zzz"] = 1.5
    values["a"]["test_accuracy"] = 0.5
    table = everything(summary(values), verdicts({}), ["a"], 1)
    assert [row[0].text for row in table.rows] == [
        "Test accuracy (%)",
        "Accuracy on the leaver's records (%)",
    ]
    assert column(table, "a")["Test accuracy (%)"].text == "50.0"
    assert column(table, "retrain")["Test accuracy (%)"].text == NO_NUMBER


def test_one_seed_has_no_spread_and_costs_none_where_seeds_agree():
    one = standings(summary(rows(a=0.9)), verdicts({}), ["a"], 1)
    assert "one seed" in one.caption
    two = standings(summary(rows(a=0.9), seeds=(0, 1)), verdicts({}), ["a"], 1)
    assert "over 2 seeds" in two.caption
    assert column(two, "Accuracy on the leaver's records (%)")["a"].spread == "0.0"
    assert column(two, "Rounds")["a"] == Cell("1")


def test_strategies_come_in_the_order_of_their_answers_and_then_of_distance():
    table = summary(rows(gone=NOTHING, far=0.9, near=0.31))
    words = {"gone": "broken", "far": "remembers", "near": "remembers"}
    assert in_rank(table, said(words), 1, "forget_accuracy") == ["near", "far", "gone"]
    words = {"gone": "undecided", "far": "as retrained", "near": "damaged"}
    assert in_rank(table, said(words), 1, "forget_accuracy") == ["far", "gone", "near"]


def said(words):
    found = [{"request": 1, "strategy": name, "answer": word} for name, word in words.items()]
    return pd.DataFrame(found)


STRANGE = r"a_b&c%d#e$f{g}h~i^j\k<l>|m±"


def test_latex_escapes_everything_and_says_the_same():
    assert escape(STRANGE) == (
        r"a\_b\&c\%d\#e\$f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"
        r"\textless{}l\textgreater{}\textbar{}m$\pm$"
    )


def test_a_latex_table_of_many_rows_goes_over_pages():
    rows = tuple((Cell(f"name {number}"), Cell(f"{MINUS_SIGN}1")) for number in range(PAGE + 1))
    table = Table("long", "Long", ("Name", "x"), rows, ("A note",))
    text = latex(table)
    assert r"\begin{longtable}{@{}lr@{}}" in text
    assert r"\begin{table}" not in text
    assert text.index(r"Name & x \\") < text.index(r"\endhead") < text.index(r"name 0 & $-$1 \\")
    assert "longtable" in document(["long"])
    assert balanced(text)
    assert r"\begin{table}" in latex(replace(table, rows=rows[1:]))


def test_a_latex_table_has_booktabs_rules_bold_best_and_even_rows():
    table = Table(
        "a_table",
        "Loss & gain",
        ("Name", "x_1"),
        (
            (Cell(STRANGE), Cell("1.5", "0.2", best=True, verdict="inside")),
            (Cell("b"), Cell(f"{MINUS_SIGN}2")),
        ),
        ("100 % sure",),
    )
    text = latex(table)
    lines = [line.strip() for line in text.splitlines()]
    assert [line for line in lines if line in (r"\toprule", r"\midrule", r"\bottomrule")] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert r"\caption{Loss \& gain.}" in text
    assert r"Name & x\_1 \\" in text
    assert rf"{escape(STRANGE)} & \textbf{{1.5}} $\pm$ 0.2 $\checkmark$ \\" in text
    assert r"b & $-$2 \\" in text
    assert r"100 \% sure" in text
    assert r"\label{tab:a-table}" in text
    assert balanced(text)


def test_the_document_loads_what_the_tables_use_and_prints_each():
    text = document(["one", "two"])
    for package in ("booktabs", "graphicx", "amssymb"):
        assert rf"\usepackage{{{package}}}" in text
    assert text.index(r"\input{one}") < text.index(r"\input{two}") < text.index(r"\end{document}")


def balanced(text):
    """Whether braces and environments of LaTeX match."""
    plain = text.replace(r"\{", "").replace(r"\}", "").replace("\\\\", "")
    begins = sorted(part.split("}")[0] for part in text.split(r"\begin{")[1:])
    ends = sorted(part.split("}")[0] for part in text.split(r"\end{")[1:])
    return plain.count("{") == plain.count("}") and begins == ends and "$" in plain


def test_markdown_escapes_and_keeps_cells_apart():
    cells = (Cell("a|b_*c*"), Cell("1.5", best=True, verdict="outside", href="x/y"))
    text = markdown(Table("t", "A <b>", ("Name", "x"), (cells,), ("note_",)))
    assert text.splitlines() == [
        r"**A \<b\>**",
        "",
        "| Name | x |",
        "| --- | ---: |",
        r"| a\|b\_\*c\* | [**1.5**](x/y) ◆ |",
        "",
        r"*note\_*",
    ]


def test_before_and_after_stand_side_by_side_in_two_tables(two_requests):
    run = load(two_requests)
    order = ["none", "federaser"]
    gone, kept, *later = reduced(run, order)
    assert (gone.name, kept.name) == ("forgotten-1", "kept-1")
    assert [table.name for table in later] == ["forgotten-2", "kept-2"]
    assert [row[0].text for row in gone.rows] == ["retrain", *order]
    assert "Test accuracy (%)" in kept.headings
    assert not set(gone.headings[1:]) & set(kept.headings[1:])
    found = reductions(run.metrics).set_index(["request", "strategy", "metric"])
    row = found.loc[(1, "federaser", "test_accuracy")]
    before, after = (number(100 * row[end], 1) for end in ("before", "after"))
    fell = number(row["reduction"], 0)
    cell = column(kept, "Test accuracy (%)")["federaser"]
    assert cell.text == f"{before} → {after} ({fell} %)"


def test_goals_are_named_below_the_tables_and_marked_in_their_cells(two_requests, monkeypatch):
    run = load(two_requests)
    certificate = {
        "targets": [{"measure": "forget_accuracy", "verdict": "at most 0.5"}],
        "utilities": [{"measure": "test_accuracy", "margin": 0.1}],
    }
    asked = replace(run, manifest={**run.manifest, "config": {"certificate": certificate}})
    requests = run.summary[["seed", "strategy", "request"]].assign(missed="")
    failed = (requests["strategy"] == "none") & (requests["request"] == 1)
    first = failed & (requests["seed"] == requests["seed"].min())
    requests.loc[first, "missed"] = "other: 1; forget_accuracy: 0.9, not at most 0.5"
    monkeypatch.setattr("fedunlearn.results.report.reduced.load_requests", lambda _: requests)
    gone, kept, *_ = reduced(asked, ["none", "federaser"])
    seeds = requests.loc[failed, "seed"].nunique()
    missed = " ✗" if seeds == 1 else f" ✗ 1 of {seeds}"
    place = gone.headings.index(label("forget_accuracy"))
    found = {row[0].text: row[place].text for row in gone.rows}
    assert found["none"].endswith(missed)
    assert found["federaser"].endswith(" ✓")
    assert all(cell.text.endswith(" ✓") for cell in column(kept, "Test accuracy (%)").values())
    assert "at most 0.5" in gone.notes[1]
    assert "worse by at most 0.1 than before" in kept.notes[1]
    plain = reduced(run, ["none", "federaser"])[1]
    assert not any("✓" in cell.text for row in plain.rows for cell in row)
