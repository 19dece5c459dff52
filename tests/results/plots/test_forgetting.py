import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from fedunlearn.results import CARDS, Margins, judge, looks_of
from fedunlearn.results.plots.against_rounds import forgetting
from tests.support.simulated_runs import ENDS, NAMES, texts


@pytest.fixture(scope="module")
def of_seven(seven):
    return forgetting(seven.metrics, seven.summary)


@pytest.fixture(scope="module")
def of_one(one):
    return forgetting(one.metrics, one.summary)


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def lines(axes, colour):
    return [line for line in axes.lines if to_hex(line.get_color()) == colour.lower()]


def test_one_panel_a_metric_named_as_on_its_card(of_seven, of_one):
    titles = [axes.get_title(loc="left") for axes in of_seven.axes]
    titles = [title for title in titles if title]
    assert [title.removesuffix(" (%)") for title in titles] == [CARDS[n].label for n in NAMES]
    assert not any("Attack" in text for text in texts(of_one))


def test_a_line_runs_through_the_means_and_recovery_starts_where_unlearning_ended(seven, of_seven):
    axes = panel(of_seven, "Test accuracy")
    look = looks_of(["federaser"])["federaser"]
    colour, marker = look.colour, look.marker
    unlearning, recovery = lines(axes, colour)
    chosen = seven.metrics.query(
        "strategy == 'federaser' and phase == 'unlearn' and metric == 'test_accuracy'"
    )
    means = 100 * chosen.groupby("round")["value"].mean()
    np.testing.assert_array_equal(unlearning.get_xdata(), means.index)
    np.testing.assert_allclose(unlearning.get_ydata(), means)
    assert recovery.get_xydata()[0] == pytest.approx(unlearning.get_xydata()[-1])
    assert len(recovery.get_xdata()) == 1 + 4
    assert recovery.get_linestyle() != unlearning.get_linestyle()
    assert unlearning.get_marker() == recovery.get_marker() == marker


def test_a_strategy_of_a_single_round_is_marked(of_one):
    axes = panel(of_one, "Test accuracy")
    (line,) = lines(axes, looks_of(["none"])["none"].colour)
    assert list(line.get_xdata()) == [0, 1]
    assert line.get_marker() == "X"
    assert line.get_markevery() == [-1]


def test_the_retrained_value_goes_through_every_panel_and_is_named(seven, of_seven):
    named = [text.get_text() for axes in of_seven.axes for text in axes.get_yticklabels()]
    assert named.count("retrained") == len(NAMES)
    axes = panel(of_seven, "Accuracy on the leaver's records")
    retrained = seven.metrics.query("strategy == 'retrain' and metric == 'forget_accuracy'")
    reached = retrained.groupby("seed")["value"].last()
    *_, across = (line for line in axes.lines if list(line.get_xdata()) == [0, 1])
    assert across.get_ydata() == pytest.approx([100 * reached.mean()] * 2)
    (band,) = [patch for patch in axes.patches if patch.get_width() == 1]
    assert band.get_height() == pytest.approx(200 * reached.std())


def test_each_seed_is_a_thin_line_and_one_alone_none(seven, of_seven, of_one):
    axes = panel(of_seven, "Test accuracy")
    thin = {to_hex(each.get_colors()[0]): each.get_segments() for each in axes.collections}
    mine = thin[looks_of(["federaser"])["federaser"].colour.lower()]
    assert len(mine) == 3
    rows = seven.metrics.query("strategy == 'federaser' and metric == 'test_accuracy'")
    for segment, (_, of_seed) in zip(mine, rows.groupby("seed"), strict=True):
        np.testing.assert_allclose(segment[:, 1], 100 * of_seed["value"])
    assert not panel(of_one, "Test accuracy").collections


def test_retraining_is_drawn_last_and_thinner_than_the_others(of_seven):
    for axes in (axes for axes in of_seven.axes if axes.get_title(loc="left")):
        drawn = [line for line in axes.lines if line.get_marker() not in ("None", "")]
        own = lines(axes, looks_of(["retrain"])["retrain"].colour)
        assert drawn[-1] in own
        others = [line.get_linewidth() for line in drawn if line not in own]
        assert drawn[-1].get_linewidth() < min(others)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_axis_goes_beyond_what_a_measure_can_be(seven, value):
    alike = seven.metrics.assign(value=value)
    figure = forgetting(alike, seven.summary)
    for name in NAMES:
        low, high = panel(figure, CARDS[name].label).get_ylim()
        assert 0 <= low < high <= (1 if name == "membership_auc" else 100)


def test_the_gaps_in_the_end_are_those_of_the_summary(seven, of_seven):
    ends = [axes for axes in of_seven.axes if "gap in the end" in texts(axes)]
    assert len(ends) == len(NAMES)
    for axes, name in zip(ends, NAMES, strict=True):
        factor = 1 if name == "membership_auc" else 100
        for strategy, look in looks_of(seven.summary["strategy"]).items():
            drawn = [line for line in lines(axes, look.colour) if len(line.get_xdata()) == 1]
            (mark,) = [line for line in drawn if line.get_marker() == look.marker]
            gaps = factor * seven.summary[seven.summary.strategy == strategy][f"{name}_gap"]
            assert mark.get_ydata()[0] == pytest.approx(gaps.mean())
            low, high = axes.get_ylim()
            assert low < gaps.min() <= gaps.max() < high


def test_small_differences_are_not_blown_up(one):
    still = one.summary.assign(test_accuracy=0.0, test_accuracy_gap=0.0)
    axes = panel(forgetting(one.metrics.assign(value=0.0), still), "Test accuracy")
    assert axes.get_ylim() == pytest.approx((0, 3))


def test_a_legend_of_many_long_names_stays_in_the_figure(seven):
    names = {name: f"{name} with every second round and a longer name" for name in ENDS}
    names["retrain"] = "retrain"
    metrics, summary = (
        frame.assign(strategy=frame["strategy"].replace(names))
        for frame in (seven.metrics, seven.summary)
    )
    figure = forgetting(metrics, summary)
    (legend,) = figure.legends
    assert legend.get_window_extent().width <= figure.bbox.width


def test_long_retraining_is_cut_and_the_legend_says_so(of_one):
    assert panel(of_one, "Test accuracy").get_xlim()[1] < 13
    assert "retrain (until round 24)" in texts(of_one)


def test_the_legend_explains_recovery_seeds_and_shading_only_where_they_are(of_seven, of_one):
    many, single = texts(of_seven), texts(of_one)
    assert {"recovery", "each of 3 seeds", "retrained: 3 models"} <= set(many)
    assert not {"recovery", "each of 1 seeds", "retrained: 1 models"} & set(single)


@pytest.mark.parametrize(
    ("clients", "scope", "sentence"),
    [
        ("0", "everything", "client 0 (Ann) leaves"),
        ("1+3", "everything", "clients 1 and 3 leave"),
        ("1", "labels=7", "client 1 has label 7 erased"),
    ],
)
def test_the_request_is_marked_by_what_is_to_go(one, clients, scope, sentence):
    summary = one.summary.assign(clients=clients, scope=scope)
    figure = forgetting(one.metrics, summary, owners={0: "Ann"})
    assert texts(figure).count(sentence) == 3


def test_a_long_request_takes_no_width_from_its_panel(one):
    def widths(scope):
        summary = one.summary.assign(clients="1", scope=scope)
        figure = forgetting(one.metrics, summary)
        figure.draw_without_rendering()
        return [axes.get_position().width for axes in figure.axes]

    assert widths("share=0.125") == pytest.approx(widths("everything"), abs=0.01)


def test_the_band_is_that_of_all_references_and_the_legend_counts_them(seven):
    again = seven.metrics[seven.metrics.strategy == "retrain"].assign(strategy="retrain-2")
    again["value"] -= 0.1 * (again["metric"] == "test_accuracy")
    metrics = pd.concat([seven.metrics, again])
    summary = pd.concat(
        [
            seven.summary,
            seven.summary[seven.summary.strategy == "retrain"].assign(
                strategy="retrain-2", test_accuracy=lambda rows: rows.test_accuracy - 0.1
            ),
        ]
    )
    figure = forgetting(metrics, summary)
    assert "retrained: 6 models ± margin" in texts(figure)
    assert "retrain-2" not in texts(figure)
    judged = judge(summary).set_index(["metric", "strategy"]).loc[("test_accuracy", "none")]
    (band,) = [p for p in panel(figure, "Test accuracy").patches if p.get_width() == 1]
    low, high = 100 * judged["low"], 100 * judged["high"]
    assert band.get_y() == pytest.approx(low)
    assert band.get_y() + band.get_height() == pytest.approx(min(100, high))
    seed = forgetting(metrics[metrics.seed == 0], summary[summary.seed == 0])
    assert "retrained: 2 models" in texts(seed)


@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_the_band_reaches_as_far_as_the_run_s_own_verdicts_say(seven, spread):
    again = seven.summary[seven.summary.strategy == "retrain"].assign(
        strategy="retrain-2", test_accuracy=lambda rows: rows.test_accuracy - 0.02
    )
    summary = pd.concat([seven.summary, again])
    figure = forgetting(seven.metrics, summary, judge(summary, Margins(spread=spread)))
    (band,) = [p for p in panel(figure, "Test accuracy").patches if p.get_width() == 1]
    # two models 2 points apart in each seed: their deviation within it is sqrt(2)
    assert band.get_height() == pytest.approx(2 * max(1, spread * 2**0.5))
