import pandas as pd
import pytest

from fedunlearn.results import load
from fedunlearn.results.plots import draw, ends
from fedunlearn.results.plots.crowd import by_success, overview
from fedunlearn.results.plots.request_tables import crowded
from tests.support.simulated_runs import ENDS, simulated

MANY = tuple(f"{name}{number}" for number in "123" for name in list(ENDS)[1:4])


@pytest.fixture
def recovered(tmp_path):
    return load(simulated(tmp_path / "run", seeds=(0, 1, 2), recovery=4))


def test_a_phase_ends_with_its_last_round_and_spreads_over_seeds(recovered):
    rows = recovered.metrics
    found = ends(rows, 1).set_index(["strategy", "phase", "metric"])
    for phase in ("unlearn", "recover"):
        mine = rows[(rows.strategy == "federaser") & (rows.phase == phase) & (rows.request == 1)]
        last = mine[(mine["round"] == mine["round"].max()) & (mine.metric == "test_accuracy")]
        assert len(last) == 3
        mean, sd = found.loc[("federaser", phase, "test_accuracy")]
        assert mean == pytest.approx(100 * last["value"].mean())
        assert sd == pytest.approx(100 * last["value"].std())


def test_strategies_of_different_length_end_at_their_own_last_round():
    rows = [
        (seed, strategy, 1, "unlearn", number, "test_accuracy", number / 10)
        for seed, strategy, last in ((0, "a", 2), (1, "a", 4), (0, "b", 1))
        for number in range(last + 1)
    ]
    columns = ["seed", "strategy", "request", "phase", "round", "metric", "value"]
    found = ends(pd.DataFrame(rows, columns=columns), 1)
    assert dict(zip(found["strategy"], found["mean"], strict=True)) == pytest.approx(
        {"a": 30, "b": 10}
    )
    assert found["sd"].tolist()[1] == 0  # one seed


def test_best_first_behind_retraining():
    summary = pd.DataFrame(
        {
            "strategy": ["retrain", "retrain-2", "remembers", "useless", "good", "over"],
            "probe": "took",
            "attack_success_rate_gap": [0, 0, 0.9, 0.0, 0.02, -0.04],
            "test_accuracy_gap": [0, 0, 0.01, -0.5, -0.01, 0.2],
        }
    )
    assert by_success(summary) == ["retrain", "good", "over", "useless", "remembers"]


def test_rows_bands_and_bars(recovered):
    figure = overview(recovered.metrics, recovered.summary)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Test accuracy (%)", "Leaver's records (%)", "Attack success (%)"]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[0] == "retrain"
    assert sorted(names) == sorted(ENDS)
    found = ends(recovered.metrics, 1).set_index(["strategy", "phase", "metric"])["mean"]
    for place, name in enumerate(names):
        marks = [
            (line.get_xdata()[0], line.get_markerfacecolor() == "white")
            for line in figure.axes[2].lines
            if line.get_marker() == "o" and line.get_ydata()[0] == place
        ]
        assert marks == [
            (pytest.approx(found[name, "unlearn", "attack_success_rate"]), True),
            (pytest.approx(found[name, "recover", "attack_success_rate"]), False),
        ]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["right after unlearning", "after recovery", "retrained models"]


def test_shares_stay_within_their_range(recovered):
    wild = recovered.metrics.copy()
    wild.loc[(wild.metric == "attack_success_rate") & (wild.seed == 1), "value"] = 0.9
    wild.loc[(wild.metric == "attack_success_rate") & (wild.seed != 1), "value"] = 0.0
    axes = overview(wild, recovered.summary).axes[2]
    ends_of_bars = [
        x for bars in axes.collections for path in bars.get_paths() for x in path.vertices[:, 0]
    ]
    assert min(ends_of_bars) == 0
    assert max(ends_of_bars) > 70


def test_without_recovery_there_is_one_mark_a_row(tmp_path):
    run = load(simulated(tmp_path / "run", seeds=(0,)))
    figure = overview(run.metrics, run.summary)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(dots) == len(ENDS)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["unlearned", "retrained models"]


@pytest.mark.slow
def test_many_strategies_get_an_overview_in_place_of_curves(tmp_path):
    run = simulated(tmp_path / "few", recovery=2)
    assert not crowded(load(run).summary)
    assert {file.stem for file in draw(run)} >= {"forgetting", "tradeoff", "cost"}
    metrics, summary = (run / name for name in ("metrics.csv", "summary.csv"))
    for file in (metrics, summary):
        rows = pd.read_csv(file)
        again = [rows.assign(strategy=rows["strategy"] + ending) for ending in ("", "-b")]
        kept = pd.concat([again[0], again[1][~again[1]["strategy"].str.match("retrain|shared")]])
        kept.to_csv(file, index=False)
    assert crowded(load(run).summary)
    assert {file.stem for file in draw(run)} == {"overview", "cost", "labels"}


def test_no_axis_goes_beyond_what_a_measure_can_be(recovered):
    for value in (0.0, 1.0):
        wild = recovered.metrics.assign(value=(recovered.metrics["seed"] == value).astype(float))
        for axes in overview(wild, recovered.summary).axes:
            low, high = axes.get_xlim()
            assert 0 <= low < high <= 100
