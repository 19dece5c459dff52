import pandas as pd
import pytest

from fedunlearn.checks import Refused
from fedunlearn.results import Case, run_files
from fedunlearn.results.frames import (
    curves_by_seed,
    link,
    pareto_front,
    request_times,
    retrained_bands,
    stored_by_request,
    tradeoff_points,
)
from fedunlearn.results.report.charts.chart import records, steps
from fedunlearn.results.report.multirun import sweep
from fedunlearn.results.report.overview import sentences
from fedunlearn.results.report.picks import SHOWN, picks
from tests.support.report_tables import summary, verdicts

NOTHING = float("nan")


def test_nobody_on_the_front_is_beaten_and_everybody_else_is():
    points = pd.DataFrame(
        {"a": [1, 2, 3, 2, 1, NOTHING, 0], "b": [3, 2, 1, 2, 4, 0, NOTHING]}, dtype=float
    )
    assert list(pareto_front(points, ["a", "b"])) == [True, True, True, True, False, False, False]
    assert list(pareto_front(points, ["a"])) == [False, False, False, False, False, False, True]


def test_the_band_is_the_verdicts_or_else_a_deviation_around_the_mean_and_ends_with_the_metric():
    rows = {"retrain": {"forget_accuracy": 0.2}, "retrain-2": {"forget_accuracy": 0.4}}
    table = summary({**rows, "mine": {"forget_accuracy": 0.9}}, seeds=(0, 1))
    found = retrained_bands(table, verdicts({}), ["forget_accuracy"]).set_index("seed")
    assert list(found.index) == ["all", "0", "1"]
    assert found.loc["0", "mean"] == pytest.approx(30)
    assert found.loc["0", "high"] - found.loc["0", "low"] == pytest.approx(2 * 10 * 2**0.5)
    judged = verdicts({"mine": {"forget_accuracy": "inside"}}).assign(low=-0.5, high=0.6)
    found = retrained_bands(table, judged, ["forget_accuracy"]).set_index("seed")
    assert tuple(found.loc["all", ["low", "high"]]) == (0.0, pytest.approx(60))
    assert found.loc["1", "low"] == pytest.approx(30 - 10 * 2**0.5)
    other = retrained_bands(table, judged.assign(request=2), ["forget_accuracy"]).set_index("seed")
    assert other.loc["all", "high"] < 50


def test_a_band_of_one_model_is_a_line():
    found = retrained_bands(summary({"retrain": {"test_loss": 0.5}}), verdicts({}), ["test_loss"])
    assert set(found["low"]) == set(found["high"]) == {0.5}


def test_points_are_mean_distances_of_seeds_and_of_each(tmp_path):
    rows = {"retrain": {"forget_accuracy": 0.3, "forget_accuracy_gap": 0.0}}
    rows["mine"] = {"forget_accuracy": 0.5, "forget_accuracy_gap": 0.2, "client_epochs": 7.0}
    rows["mine"] |= {"test_accuracy": 0.9, "test_accuracy_gap": -0.05, "bytes_up": 2_000_000}
    table = summary(rows, seeds=(4, 5))
    mine = (table["seed"] == 5) & (table["strategy"] == "mine")
    table.loc[mine, ["forget_accuracy_gap"]] = -0.4
    found = tradeoff_points(table, tmp_path).set_index("seed")
    assert set(found["strategy"]) == {"mine"}
    assert list(found["distance"]) == pytest.approx([30, 20, 40])
    assert found.loc["all", ["change", "client_epochs", "sent"]].tolist() == pytest.approx(
        [-5, 7, 2]
    )
    assert found["front_sent"].all()


def test_a_point_leads_to_its_certificate_or_model_or_folder(tmp_path):
    assert link(tmp_path, Case(0, "a b", 1)) == "./"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "seed0-a b-request1.safetensors").touch()
    assert link(tmp_path, Case(0, "a b", 1)) == "models/seed0-a%20b-request1.safetensors"
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "seed0-a b-request1.md").touch()
    assert link(tmp_path, Case(0, "a b", 1)) == "certificates/seed0-a%20b-request1.md"


def test_lines_hang_together_from_training_to_recovery(two_requests):
    run = run_files.load(two_requests)
    table = curves_by_seed(run.metrics, ["test_accuracy"])
    mine = table[(table["request"] == 1) & (table["seed"] == "0")]
    eraser = mine[mine["strategy"] == "federaser"].set_index(["phase", "x"])["test_accuracy"]
    assert [x for phase, x in eraser.index if phase == "recover"] == [12, 13, 14]
    assert eraser["recover", 12] == eraser["unlearn", 12]
    shared = mine[mine["strategy"] == "shared"]
    assert shared["x"].max() == 0
    assert eraser["unlearn", 0] == pytest.approx(97.1)


def test_further_references_are_the_band_and_no_lines_or_bars(two_requests):
    run = run_files.load(two_requests)
    again = run.metrics[run.metrics["strategy"] == "retrain"].assign(strategy="retrain-2")
    table = curves_by_seed(pd.concat([run.metrics, again]), ["test_accuracy"])
    assert set(table["strategy"]) == {*run.summary["strategy"], "shared"}
    rows = run.summary[run.summary["strategy"] == "retrain"].assign(strategy="retrain-2")
    kept = stored_by_request(pd.concat([run.summary, rows]), run.metrics)
    assert set(kept["strategy"]) == set(run.summary["strategy"])
    assert set(tradeoff_points(pd.concat([run.summary, rows]), two_requests)["strategy"]) == {
        *run.summary["strategy"]
    } - {"retrain"}


def test_who_left_when(two_requests):
    run = run_files.load(two_requests)
    left = request_times(run.summary, run.metrics)
    assert left.to_numpy().tolist() == [
        [1, "0", "everything", 12],
        [2, "1+2", "everything", 12],
    ]
    kept = stored_by_request(run.summary, run.metrics).set_index(["request", "strategy"])
    assert kept.loc[(1, "federaser"), "stored"] == pytest.approx(9.2 + 0.153128)
    assert kept.loc[(1, "federaser"), "per_round"] == pytest.approx((9.2 + 0.153128) / 12)


def test_few_strategies_all_stand_out_many_in_different_colours():
    assert all(pick.shown for pick in picks(["a", "b", "retrain"], ["a", "b"]))
    names = [f"s{number}" for number in range(20)]
    found = picks(["retrain", "retrain-2", *names], names[::-1])
    assert [pick.name for pick in found] == ["retrain", *names]
    shown = [pick for pick in found if pick.shown]
    assert {pick.name for pick in shown} == {"retrain", *names[: -SHOWN - 1 : -1]}
    assert len({pick.look.colour for pick in shown}) == SHOWN + 1
    assert len({pick.look for pick in found}) == 21


@pytest.mark.parametrize(
    ("most", "values"),
    [
        (100, [0, 1, 2, 5, 10, 20, 50, 100]),
        (3.0, [0, 1, 2]),
        (0.72, [0, 0.2, 0.4, 0.6]),
        (0.05, [0, 0.01, 0.02, 0.03, 0.04, 0.05]),
        (1.9, [0, 0.5, 1, 1.5]),
        (0, [0, 1]),
        (NOTHING, [0, 1]),
    ],
)
def test_values_of_a_stretched_axis(most, values):
    assert steps(most) == pytest.approx(values)


def test_records_are_short_and_know_no_nan():
    table = pd.DataFrame({"a": [1 / 3, NOTHING], "b": ["x", "y"], "c": [1, 2]})
    assert records(table) == [{"a": 0.33333, "b": "x", "c": 1}, {"a": None, "b": "y", "c": 2}]


def test_settings_are_what_varies_and_the_front_is_over_three_aims(sweeping):
    folders = run_files.find_runs(sweeping)
    found = sweep(sweeping, folders)
    assert found.settings == ["strategy.interval", "strategy.effort"]
    mine = found.tried[found.tried["metric"] == "forget_accuracy"]
    assert len(mine) == 6
    assert list(mine["href"])[:2] == ["0/", "1/"]
    aims = mine.assign(lost=-mine["change"])[["distance", "lost", "sent"]]
    assert list(mine["front"]) == list(pareto_front(aims, ["distance", "lost", "sent"]))
    least = mine.loc[mine["sent"].idxmin()]
    told = sentences(found, "forget_accuracy")
    assert told[2].startswith("strategy.interval=4, strategy.effort=0.25 sends least (run 4): ")
    assert least["front"]
    assert told[-1] == f"{mine['front'].sum()} of 6 settings are on the Pareto front of all three."


def test_runs_of_equal_settings_are_averaged_and_unfinished_ones_named(tmp_path, sweeping):
    import shutil

    folder = shutil.copytree(sweeping, tmp_path / "sweep")
    for number in range(6):
        (folder / str(number) / ".hydra" / "overrides.yaml").write_text(f"[seed={number}]")
    (folder / "3" / "manifest.json").write_text('{"status": "failed"}')
    found = sweep(folder, run_files.find_runs(folder))
    assert found.settings == []
    assert found.unfinished == ["3"]
    assert list(found.tried["runs"].unique()) == [5]
    assert sentences(found, "forget_accuracy")[-1].endswith("left out: 3.")
    (folder / "4" / "summary.csv").rename(folder / "summary.csv")
    with pytest.raises(Refused, match=r"4/summary.csv cannot be read"):
        sweep(folder, run_files.find_runs(folder))
    for number in range(6):
        (folder / str(number) / "manifest.json").write_text('{"status": "running"}')
    with pytest.raises(Refused, match="no run that is finished"):
        sweep(folder, run_files.find_runs(folder))
