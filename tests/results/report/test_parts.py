"""The parts of a report that stand beside the answers: who pays, costs, settings, figures."""

import json
import sys

import pandas as pd
import pytest

from fedunlearn.results import CARDS, Case, run_files
from fedunlearn.results.costing import Devices
from fedunlearn.results.report import Declared, facts, story, writing
from fedunlearn.results.report import page as pages
from fedunlearn.results.report.cells import Cell
from fedunlearn.results.report.charts import attacked, layers
from fedunlearn.results.report.charts.chart import LABEL, Chart, Controls, folded, rows_of
from fedunlearn.results.report.charts.clients_and_requests import (
    harm,
    label_map,
    timeline,
    worst_off,
)
from fedunlearn.results.report.charts.export import export
from fedunlearn.results.report.evidence import Certified
from fedunlearn.results.report.latex import escape as in_latex
from fedunlearn.results.report.markdown import escape as in_markdown
from fedunlearn.results.report.page import prose
from fedunlearn.results.report.picks import picks
from fedunlearn.results.report.spans import spans
from fedunlearn.simulations import report as report_command
from tests.support.simulated_runs import simulated

PAID = pd.DataFrame(
    {
        "request": 1,
        "strategy": ["a", "a", "b", "b"],
        "client": [4, 7, 4, 7],
        "before": [0.9, 0.8, 0.9, 0.8],
        "after": [0.95, 0.7, 0.9, 0.85],
        "retrained": [0.92, 0.81, 0.92, 0.81],
        "change": [0.05, -0.1, 0.0, 0.05],
        "similarity": [0.2, 0.75, 0.2, 0.75],
    }
)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("retrain", ["retrain"]),
        ("fedaccum(interval=2)", ["fedaccum(interval=2)"]),
        ("puf(mode=special,eta=20)", ["puf(mode=special,", "eta=20)"]),
        ("x" * 30, ["x" * 21, "x" * 9]),
        ("(,", ["(,"]),
        ("", [""]),
    ],
)
def test_a_long_name_is_folded_and_nothing_of_it_is_lost(name, lines):
    assert folded(name) == lines
    assert "".join(lines) == name
    assert max(map(len, lines)) <= LABEL


def test_a_chart_is_high_enough_for_the_lines_of_every_row():
    _, flat = rows_of(["a", "b", "a"])
    axis, high = rows_of(["a", "puf(mode=special,eta=20,more_of_it=3)"])
    assert flat == 2 * 25 + 10
    assert high >= 2 * 12 * 2 + 10
    assert '["puf(mode=special,", "eta=20,more_of_it=3)"]' in axis.to_dict()["labelExpr"]


def test_code_is_code_in_every_format_and_the_rest_is_escaped():
    text = "Set `split=0|1` & <see> a ` alone."
    assert prose(text) == "Set <code>split=0|1</code> &amp; &lt;see&gt; a ` alone."
    assert in_markdown(text) == r"Set `split=0\|1` &amp; \<see\> a \` alone."
    assert in_latex("`a_b` & c") == r"\texttt{a\_b} \& c"


def test_who_lost_most_with_each_strategy():
    rows = [[cell.text for cell in row] for row in worst_off(PAID).rows]
    assert rows == [
        ["a", "7", "80.0", "70.0", "81.0", "\N{MINUS SIGN}10.0", "0.75"],
        ["b", "4", "90.0", "90.0", "92.0", "0.0", "0.20"],
    ]


def test_the_chart_of_who_pays_holds_points_of_accuracy_and_obeys_seed_and_request():
    controls = Controls.of(picks(["a", "b"], []), [0], [1])
    spec = harm(PAID, controls, ["b", "a"]).spec
    assert [row["change"] for row in spec["datasets"]["paid"]] == [5, -10, 0, 5]
    assert [param["name"] for param in spec["params"]] == ["seed", "request"]
    assert spec["layer"][1]["encoding"]["y"]["sort"] == ["b", "a"]


def test_layers_are_those_of_the_last_round_and_other_retrained_models_are_the_floor():
    rows = [
        (1, 0, "none", "forget_cka", 0.1),
        (1, 0, "none", "forget_cka/a", 0.2),
        (1, 0, "none", "forget_cka/a", 0.5),
        (1, 1, "none", "forget_cka/a", 0.7),
        (1, 0, "retrain-2", "forget_cka/a", 0.8),
        (1, 0, "retrain-3", "forget_cka/a", 1.0),
        (1, 0, "none", "retained_accuracy/4", 0.3),
    ]
    metrics = pd.DataFrame(rows, columns=["request", "seed", "strategy", "metric", "value"])
    found = layers.alike(metrics).set_index(["strategy", "seed"])["cka"].to_dict()
    assert found == {
        ("none", "0"): 0.5,
        ("none", "1"): 0.7,
        ("none", "all"): pytest.approx(0.6),
        ("retrain again", "0"): pytest.approx(0.9),
        ("retrain again", "all"): pytest.approx(0.9),
    }
    assert layers.alike(metrics[metrics["metric"] == "forget_cka"]).empty


def test_areas_under_the_curve_are_one_a_strategy_and_further_references_are_one():
    rows = [
        (1, 0, "retrain", "lira", "record", "auc", 0.4, 0.3, 0.5),
        (1, 0, "retrain-2", "lira", "record", "auc", 0.6, 0.5, 0.7),
        (1, 0, "retrain-3", "lira", "record", "auc", 0.8, 0.7, 0.9),
        (1, 1, "retrain", "lira", "record", "auc", 0.52, 0.4, 0.6),
        (1, 0, "shared", "lira", "record", "auc", 0.9, 0.8, 1.0),
        (1, 0, "shared", "lira", "record", "tpr_at_0.01", 0.3, 0.2, 0.4),
    ]
    columns = ["request", "seed", "strategy", "attack", "level", "statistic"]
    attacks = pd.DataFrame(rows, columns=[*columns, "value", "low", "high"])
    found = attacked.areas(attacks).set_index(["strategy", "seed"])
    assert set(found["attack"]) == {"lira/record"}
    got = found[["value", "low", "high"]].round(6).T.to_dict("list")
    assert got == {
        ("retrain", "all"): [0.46, 0.4, 0.52],
        ("retrain again", "all"): [0.7, 0.7, 0.7],
        ("before", "all"): [0.9, 0.9, 0.9],
        ("retrain", "0"): [0.4, 0.3, 0.5],
        ("retrain again", "0"): [0.7, 0.6, 0.8],
        ("retrain", "1"): [0.52, 0.4, 0.6],
        ("before", "0"): [0.9, 0.8, 1.0],
    }


def test_leavers_are_marked_on_the_label_map(two_requests):
    run = run_files.load(two_requests)
    chart = label_map(run.clients, run.summary)
    assert [row["client"] for row in chart.spec["datasets"]["leavers"]] == [0, 1, 2]
    assert chart.table is not None
    assert chart.table.rows[0][0] == Cell("0 (leaves)")
    first = run.clients[(run.clients["seed"] == 0) & (run.clients["client"] == 3)]
    assert chart.table.rows[3][-1].text == str(first["train"].sum())


def test_the_timeline_tells_who_left_when():
    left = pd.DataFrame(
        {
            "request": [1, 2],
            "clients": ["0", "1+2"],
            "scope": ["labels=7", "everything"],
            "after": [8, 16],
        }
    )
    chart = timeline(left, 24)
    assert "label 7 of client 0 after round 8, clients 1 and 2 after round 16." in chart.alt
    assert chart.table is not None
    assert [cell.text for cell in chart.table.rows[1]] == ["request 2", "clients 1 and 2", "16"]


def test_settings_are_flat_and_versions_last():
    manifest = {
        "config": {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": [{"f": 2}], "g": {}},
        "versions": {"torch": "2"},
        "commit": "abc",
    }
    rows = [[cell.text for cell in row] for row in facts.settings(manifest).rows]
    assert rows == [
        ["a.b", "1"],
        ["a.c", "[1, 2]"],
        ["d", "null"],
        ["e.0.f", "2"],
        ["g", "{}"],
        ["version of torch", "2"],
        ["commit", "abc"],
    ]


def test_certificates_are_counted_over_seeds():
    found = [
        Certified(Case(0, "a b", 1), True, 0),
        Certified(Case(1, "a b", 1), False, 2),
        Certified(Case(0, "c", 1), None, 0),
        Certified(Case(0, "retrain-2", 1), True, 0),
        Certified(Case(0, "retrain-3", 1), True, 0),
    ]
    again = ["retrain again", "1", "2 of 2", "none"]
    rows = [[cell.text for cell in row] for row in facts.certified(found).rows]
    assert rows == [["a b", "1", "1 of 2", "2"], ["c", "1", "no thresholds", "none"], again]
    assert facts.certified(found).rows[0][0].href == "certificates/seed0-a%20b-request1.md"


def test_the_glossary_tells_meaning_range_and_goal():
    (term, meaning), *_ = facts.glossary(["forget_loss", "unknown"])
    assert term == CARDS["forget_loss"].label
    assert meaning.endswith(
        "From 0 to any size. The goal is the retrained model's value, not the lowest."
    )
    assert dict(facts.glossary([])).keys() == facts.COSTS.keys()


def test_time_and_break_even_are_told_for_each_kind_of_devices(two_requests):
    run = run_files.load(two_requests)
    assert spans(run, Declared(), ["federaser"]) == []
    times, pays = spans(run, Declared(devices={"free": Devices()}), ["federaser", "none"])
    assert times.headings == ("Strategy", "free", "of retraining's")
    assert [row[0].text for row in times.rows] == ["retrain", "federaser", "none"]
    found = {row[0].text: [cell.text for cell in row[1:]] for row in pays.rows}
    # FedEraser sends 104 models of 76564 bytes less for 9.2 MB stored more: it pays at once
    assert found["federaser"][pays.headings.index("In bytes") - 1] == "1"
    assert found["none"][pays.headings.index("In client epochs") - 1] == "1"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "seed 3 · 1 retrained model a seed"),
        (
            {
                "dataset": {"_target_": "a.b.Digits"},
                "partition": {"_target_": "a.Iid", "clients": 5},
                "planting": {"_target_": "a.Nothing"},
                "training": {"rounds": 24},
            },
            "Digits · 5 clients · Iid · 24 rounds of training · seed 3 · 1 retrained model a seed",
        ),
    ],
)
def test_the_federation_in_a_line(config, words):
    table = pd.DataFrame({"seed": [3, 3], "strategy": ["retrain", "a"]})
    assert story.setting(table, config) == words


def test_a_figure_is_svg_pdf_and_png_with_its_legend_and_no_inputs(tmp_path):
    controls = Controls.of(picks(["a", "b"], ["a", "b"]), [0, 1], [1])
    chart = harm(PAID, controls, ["a", "b"])
    svg, pdf, png = export(Chart("x", "X", "", chart.spec), tmp_path)
    assert [path.name for path in (svg, pdf, png)] == [
        "report-x.svg",
        "report-x.pdf",
        "report-x.png",
    ]
    assert svg.read_text().startswith("<svg")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "Change in accuracy" in svg.read_text()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(pages, "_script", lambda: "")
    monkeypatch.setattr(writing, "figures", lambda folder, charts: [])


def test_the_command_writes_the_report_with_what_the_strategies_declare(
    quick, monkeypatch, tmp_path, capsys
):
    folder = simulated(tmp_path, ("retrain", "federaser"))
    eraser = {"_target_": "strategies.federaser.FedEraser", "interval": 3, "effort": 0.5}
    gone = {"_target_": "strategies.gone.Gone"}
    manifest = {"status": "finished", "config": {"strategies": {"federaser": eraser, "gone": gone}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(sys, "argv", ["fedunlearn report", str(folder)])
    report_command.main()
    assert str(folder / "report.html") in capsys.readouterr().out
    text = (folder / "report.md").read_text()
    assert "| federaser | replay the stored lengths" in text
    assert "updates of every round in 3 | those who remain | none |" in text
    assert "| Strategy | silos | of retraining's | phones | of retraining's |" in text


def test_the_command_refuses_a_folder_without_runs_in_a_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["fedunlearn report", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        report_command.main()
    assert ended.value.code == 2
    assert "holds no run" in capsys.readouterr().err
