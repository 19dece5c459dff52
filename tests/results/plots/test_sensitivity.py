import numpy as np
import pandas as pd
import pytest

from fedunlearn.results.plots import draw_many
from fedunlearn.results.plots.sensitivity import EPOCHS, SENT, STORED, sensitivity, swept
from tests.support.simulated_runs import simulated


def index(overrides, **columns):
    """Two rows a run: retraining and one strategy, whose attack success is the row's number."""
    rows = []
    for number, text in enumerate(overrides):
        common = {"run": str(number), "overrides": text, "request": 1, "probe": "took"}
        rows.append({**common, "strategy": "retrain", "attack_success_rate": 0.0})
        rows.append({**common, "strategy": "puf", "attack_success_rate": number / 100})
    found = pd.DataFrame(rows).assign(
        test_accuracy=0.9,
        forget_accuracy=0.3,
        bytes_down=np.arange(len(rows)) * 1e6,
        bytes_up=1e6,
        store_bytes=5e6,
        client_epochs=100.0,
        seed=0,
    )
    for name in ("attack_success_rate", "test_accuracy", "forget_accuracy"):
        found[f"{name}_gap"] = found[name] - found.loc[0, name]
    return found.assign(**columns)


def marks(axes):
    return [
        (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axes.lines
        if line.get_marker() not in ("None", "", "_", "|")
    ]


def test_swept_are_the_settings_that_differ_but_for_the_seed():
    table = pd.DataFrame(
        {
            "overrides": [
                "experiment=x strategy.mode=a strategy.eta=2 seed=0",
                "experiment=x strategy.mode=a strategy.eta=10 seed=1",
                "experiment=x strategy.mode=b strategy.eta=0.5 seed=0",
            ]
        }
    )
    found = swept(table)
    assert list(found) == ["strategy.eta", "strategy.mode"]  # most values first
    assert found["strategy.eta"].tolist() == [2, 10, 0.5]
    assert found["strategy.mode"].tolist() == ["a", "a", "b"]


def test_marks_are_means_over_seeds_against_the_swept_number():
    runs = [f"strategy.eta={eta} seed={seed}" for eta in (3, 1, 2) for seed in (0, 1)]
    figure = sensitivity(index(runs))
    assert marks(figure.axes[0]) == [([1, 2, 3], pytest.approx([2.5, 4.5, 0.5]))]
    bars = figure.axes[0].containers[0][2][0].get_segments()
    assert bars[0][:, 1] == pytest.approx([2.5 - np.sqrt(0.5), 2.5 + np.sqrt(0.5)])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0].startswith("Attack success")
    assert titles[-1] == SENT
    assert STORED not in titles  # the same for all
    bought = sensitivity(index(runs, bytes_down=0.0))
    assert bought.axes[-1].get_title(loc="left") == STORED  # the larger, where neither differs


def test_a_line_for_each_value_of_the_other_settings():
    runs = [f"strategy.eta={eta} strategy.mode={mode}" for mode in "ab" for eta in (1, 2, 3)]
    figure = sensitivity(index(runs))
    assert marks(figure.axes[0]) == [
        ([1, 2, 3], pytest.approx([0, 1, 2])),
        ([1, 2, 3], pytest.approx([3, 4, 5])),
    ]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["mode a", "mode b", "retrained ± sd"]


def test_lines_are_in_the_order_of_their_numbers():
    runs = [f"strategy.eta={eta} strategy.rounds={n}" for n in (10, 5) for eta in (1, 2, 3)]
    figure = sensitivity(index(runs))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["rounds 5", "rounds 10", "retrained ± sd"]


def test_costs_that_differ_are_shown_and_leave_room_for_as_many_metrics():
    runs = ["strategy.eta=1", "strategy.eta=2"]
    dear = index(runs, client_epochs=[1.0, 2, 3, 4], store_bytes=[1e6, 2e6, 3e6, 4e6])
    titles = [axes.get_title(loc="left") for axes in sensitivity(dear).axes]
    assert titles == ["Attack success (%)", "Test accuracy (%)", EPOCHS, SENT, STORED]


def test_the_band_is_what_retraining_reached():
    figure = sensitivity(index(["strategy.eta=1", "strategy.eta=2"]))
    axes = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["retrained ± sd"]
    goals = [line.get_ydata()[0] for line in axes[1].lines if line.get_linestyle() == "--"]
    assert goals == pytest.approx([90])
    assert not [line for line in axes[-1].lines if line.get_linestyle() == "--"]


def test_values_far_apart_are_on_a_logarithmic_axis_that_has_a_zero():
    figure = sensitivity(index([f"strategy.alpha={a}" for a in (0, 0.01, 0.1, 1)]))
    assert figure.axes[0].get_xscale() == "symlog"
    assert figure.axes[0].get_xticks().tolist() == pytest.approx([0, 0.01, 0.1, 1])
    assert sensitivity(index(["strategy.a=1", "strategy.a=9"])).axes[0].get_xscale() == "log"
    near = sensitivity(index([f"strategy.alpha={a}" for a in (0.2, 0.5, 1)]))
    assert near.axes[0].get_xscale() == "linear"
    assert [tick.get_text() for tick in near.axes[0].get_xticklabels()] == ["0.2", "0.5", "1"]


@pytest.mark.parametrize("runs", [["seed=0", "seed=1"], ["strategy.mode=a", "strategy.mode=b"]])
def test_without_a_swept_number_there_is_no_figure(runs):
    assert sensitivity(index(runs)) is None


def test_a_multirun_gets_a_figure_a_strategy(tmp_path):
    for number, eta in enumerate((1, 2)):
        run = simulated(tmp_path / str(number), strategies=("retrain", "finetune", "federaser"))
        (run / ".hydra").mkdir()
        (run / ".hydra" / "overrides.yaml").write_text(f"- strategy.interval={eta}\n- seed=0\n")
    names = [file.relative_to(tmp_path).as_posix() for file in draw_many(tmp_path)]
    assert names == [
        f"figures/sensitivity-{strategy}.{kind}"
        for strategy in ("finetune", "federaser")
        for kind in ("svg", "png")
    ]
    assert (tmp_path / "index.csv").exists()


def test_neither_axis_nor_bar_goes_beyond_what_a_measure_can_be():
    runs = [f"strategy.eta={eta} seed={seed}" for eta in (1, 2) for seed in (0, 1)]
    apart = index(runs)
    apart["test_accuracy"] = [0.9, 0.2, 0.9, 1.0] * 2
    figure = sensitivity(apart)
    for axes in figure.axes[:3]:
        low, high = axes.get_ylim()
        assert 0 <= low < high <= 100
    tops = [path.vertices[:, 1].max() for path in figure.axes[1].containers[0][2][0].get_paths()]
    assert max(tops) == 100
