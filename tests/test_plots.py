import itertools
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, TextArea
from matplotlib.text import Text

from fedunlearn import plots, runs
from fedunlearn.evaluators.cards import METRICS
from fedunlearn.ledger import Moment
from fedunlearn.plots import cost, draw, forgetting, labels, tradeoff
from fedunlearn.results import RunFolder, gaps
from fedunlearn.style import looks

NAMES = ("test_accuracy", "forget_accuracy", "attack_success_rate", "membership_auc")
BEFORE = np.array([0.971, 1.0, 0.997, 0.631])
START = np.array([0.10, 0.08, 0.0, 0.5])
# Final metrics, rounds, client epochs, models sent, megabytes stored: as FedAvg on digits has them.
ENDS = {
    "retrain": ((0.978, 0.283, 0.002, 0.512), 24, 480, 192, 0),
    "none": ((0.971, 1.0, 0.997, 0.631), 1, 0, 0, 0),
    "finetune": ((0.974, 0.98, 0.958, 0.620), 5, 100, 40, 0),
    "federaser": ((0.967, 0.276, 0.005, 0.508), 12, 110, 88, 9.2),
    "fedaccum": ((0.247, 0.04, 0.0, 0.500), 1, 0, 0, 18.4),
    "subtraction": ((0.258, 0.04, 0.0, 0.490), 1, 0, 0, 18.4),
    "federaser_all": ((0.978, 0.283, 0.002, 0.510), 24, 230, 184, 18.4),
}


def simulated(
    path, strategies=tuple(ENDS), seeds=(0,), leavers=("0",), clients=5, recovery=0, probe="took"
):
    """Write a run as a simulation would, with made-up but realistic numbers."""
    with RunFolder(path) as folder:
        folder.manifest({"status": "finished"})
        summary = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            counts = rng.multinomial(60, rng.dirichlet(np.full(10, 0.5), clients))
            folder.clients(seed, [str(label) for label in range(10)], counts, counts // 5)
            for number in range(1, 13):
                values = BEFORE + (START - BEFORE) * np.exp(-number / 3)
                write(folder, seed, "shared", Moment("train", 0, number), values, probe)
            retrained = {}
            for strategy, request in itertools.product(strategies, range(1, len(leavers) + 1)):
                case = serve(folder, seed, strategy, request, recovery, probe, rng)
                retrained.setdefault(request, case[1])
                row = summary_row(seed, strategy, request, leavers[request - 1], probe)
                gap = gaps(case[0], retrained[request])
                summary.append({**row[0], **case[0], **gap, **row[1]})
        folder.summary(summary)
    return path


def write(folder, seed, strategy, moment, values, probe):
    kept = {
        name: float(value)
        for name, value in zip(NAMES, values, strict=True)
        if probe or name != "attack_success_rate"
    }
    folder.metrics(seed, strategy, moment, kept)
    return kept


def serve(folder, seed, strategy, request, recovery, probe, rng):
    """Write one branch and return its final metrics, and those before recovery."""
    end, rounds, *_ = ENDS[strategy]
    before = START if strategy in ("retrain", "federaser", "federaser_all") else BEFORE
    write(folder, seed, strategy, Moment("unlearn", request, 0), BEFORE, probe)
    for number in range(1, rounds + 1):
        values = np.array(end) + (before - end) * (1 - number / rounds) ** 2
        values = np.clip(values + rng.normal(0, 0.003, 4), 0, 1)
        unlearned = write(folder, seed, strategy, Moment("unlearn", request, number), values, probe)
    final = unlearned
    for number in range(1, recovery + 1):
        values = values + 0.3 * (0.976 - values) * [1, 0.1, 0.1, 0]
        final = write(folder, seed, strategy, Moment("recover", request, number), values, probe)
    return final, unlearned


def summary_row(seed, strategy, request, clients, probe):
    _, rounds, epochs, models, stored = ENDS[strategy]
    first = {"seed": seed, "strategy": strategy, "request": request}
    return {**first, "clients": clients, "probe": probe}, {
        "bytes_down": models * 76_564,
        "bytes_up": models * 76_564,
        "client_epochs": float(epochs),
        "samples": 0,
        "rounds": rounds,
        "seconds": 1.0,
        "store_bytes": int(stored * 1e6) + 153_128,
    }


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Three seeds, all strategies, recovery."""
    return runs.load(simulated(tmp_path_factory.mktemp("seven"), seeds=(0, 1, 2), recovery=4))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """One seed, few strategies, no recovery, no backdoor."""
    names = ("retrain", "none", "federaser")
    return runs.load(simulated(tmp_path_factory.mktemp("one"), names, probe=""))


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def lines(axes, colour):
    return [line for line in axes.lines if to_hex(line.get_color()) == colour.lower()]


def test_a_run_with_two_requests_gets_every_figure_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, stream, **form: stream.write(b"drawn"))
    written = draw(simulated(tmp_path, ("retrain", "none"), leavers=("0", "1+3")))
    names = [
        f"{name}{end}" for end in ("", "-request2") for name in ("forgetting", "tradeoff", "cost")
    ]
    assert [file.name for file in written] == [
        f"{name}.{kind}" for name in [*names, "labels"] for kind in ("svg", "png")
    ]
    assert all(file.parent == tmp_path / "figures" and file.read_bytes() for file in written)


def test_the_same_files_give_the_same_pictures_whose_text_is_text(tmp_path):
    simulated(tmp_path, ("retrain", "federaser"), seeds=(0, 1), recovery=2)
    first = {file: file.read_bytes() for file in draw(tmp_path)}
    assert {file: file.read_bytes() for file in draw(tmp_path)} == first
    for file, content in first.items():
        if file.suffix == ".svg":
            assert b"dc:date" not in content
            assert any(
                node.tag.endswith("}text") for node in ElementTree.fromstring(content).iter()
            )
    drawn = (tmp_path / "figures" / "forgetting.svg").read_text()
    assert "client 0 leaves" in drawn
    assert "federaser" in drawn


def test_without_a_request_only_the_labels_are_drawn(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.manifest({})
        folder.clients(0, ["cat"], np.array([[3]]), np.array([[1]]))
    assert [file.name for file in draw(tmp_path)] == ["labels.svg", "labels.png"]


def test_metrics_that_nobody_measured_leave_out_their_figures(tmp_path):
    first, costs = summary_row(0, "retrain", 1, "0", "")
    with RunFolder(tmp_path) as folder:
        folder.manifest({})
        folder.metrics(0, "retrain", Moment("unlearn", 1, 0), {"weight_distance": 1.0})
        folder.summary([{**first, "weight_distance": 1.0, "weight_distance_gap": 0.0, **costs}])
    assert [file.name for file in draw(tmp_path)] == ["cost.svg", "cost.png"]


def test_drawing_leaves_matplotlib_as_it_was(one):
    before = dict(mpl.rcParams)
    tradeoff(one.summary)
    assert dict(mpl.rcParams) == before


def test_one_panel_a_metric_named_as_on_its_card(seven, one):
    titles = [axes.get_title(loc="left") for axes in forgetting(seven.metrics, seven.summary).axes]
    assert [title.removesuffix(" (%)") for title in titles] == [METRICS[n].label for n in NAMES]
    without = forgetting(one.metrics, one.summary)
    assert not any("Attack" in text for text in texts(without))


def test_a_line_runs_through_the_means_and_recovery_starts_where_unlearning_ended(seven):
    axes = panel(forgetting(seven.metrics, seven.summary), "Test accuracy")
    colour, marker = looks(["federaser"])["federaser"]
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


def test_a_strategy_of_a_single_round_is_marked(one):
    axes = panel(forgetting(one.metrics, one.summary), "Test accuracy")
    (line,) = lines(axes, looks(["none"])["none"][0])
    assert list(line.get_xdata()) == [0, 1]
    assert line.get_marker() == "X"
    assert line.get_markevery() == [-1]


def test_the_retrained_value_goes_through_every_panel_and_is_named(seven):
    figure = forgetting(seven.metrics, seven.summary)
    assert texts(figure).count("retrained") == len(NAMES)
    axes = panel(figure, "Accuracy on the leaver's records")
    unlearned = seven.metrics.query(
        "strategy == 'retrain' and phase == 'unlearn' and metric == 'forget_accuracy'"
    ).query("round == 24")["value"]
    *_, across = (line for line in axes.lines if list(line.get_xdata()) == [0, 1])
    assert across.get_ydata() == pytest.approx([100 * unlearned.mean()] * 2)
    (band,) = [patch for patch in axes.patches if patch.get_width() == 1]
    assert band.get_height() == pytest.approx(200 * unlearned.std())


@pytest.mark.parametrize(("best_seeds", "edge"), [(2, 100), (1, 0)])
def test_shading_ends_where_the_metric_ends(seven, best_seeds, edge):
    apart = (seven.metrics["seed"] < best_seeds).astype(float)
    figure = forgetting(seven.metrics.assign(value=apart), seven.summary)
    areas = [area for area in panel(figure, "Test accuracy").collections if area.get_paths()]
    heights = np.concatenate([area.get_paths()[0].vertices[:, 1] for area in areas])
    assert len(areas) > len(ENDS)
    assert (heights.min(), heights.max())[edge == 100] == edge


def test_small_differences_are_not_blown_up(one):
    still = one.summary.assign(test_accuracy=0.0, test_accuracy_gap=0.0, forget_accuracy_gap=0.001)
    axes = panel(forgetting(one.metrics.assign(value=0.0), still), "Test accuracy")
    assert axes.get_ylim() == pytest.approx((-1.5, 1.5))
    points = tradeoff(still).axes[0]
    assert np.diff(points.get_xlim()) >= 3
    assert points.get_ylim() == (0, 5)


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


def test_long_retraining_is_cut_and_the_legend_says_so(one):
    figure = forgetting(one.metrics, one.summary)
    assert panel(figure, "Test accuracy").get_xlim()[1] < 13
    assert "retrain (until round 24)" in texts(figure)


def test_the_legend_explains_recovery_and_shading_only_where_they_are(seven, one):
    many, single = (texts(forgetting(run.metrics, run.summary)) for run in (seven, one))
    assert {"recovery", "± sd of 3 seeds"} <= set(many)
    assert not {"recovery", "± sd of 1 seeds"} & set(single)


@pytest.mark.parametrize(
    ("clients", "sentence"), [("0", "client 0 leaves"), ("1+3", "clients 1 and 3 leave")]
)
def test_the_request_is_marked_by_who_leaves(one, clients, sentence):
    figure = forgetting(one.metrics, one.summary.assign(clients=clients))
    assert texts(figure).count(sentence) == 3


def test_every_point_of_the_tradeoff_is_named_and_no_name_covers_another(seven):
    figure = tradeoff(seven.summary)
    named = {area.get_text() for area in figure.findobj(TextArea)}
    assert named == {"retrained", *ENDS} - {"retrain"}
    figure.draw_without_rendering()
    boxes = [box.patch.get_window_extent() for box in figure.findobj(AnnotationBbox)]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)


def test_the_tradeoff_falls_back_to_the_leavers_records_where_no_probe_took(seven, one):
    assert any("Attack success" in text for text in texts(tradeoff(seven.summary)))
    failed = tradeoff(seven.summary.assign(probe="did not take"))
    for figure in (failed, tradeoff(one.summary)):
        assert any("Accuracy on the leaver's records" in text for text in texts(figure))


def test_bars_are_as_long_as_the_costs_and_zero_is_a_word(seven):
    figure = cost(seven.summary)
    epochs, sent, _ = figure.axes
    assert [bar.get_width() for bar in epochs.patches] == [ENDS[name][2] for name in ENDS]
    widths = [bar.get_width() for bar in sent.patches]
    assert widths == pytest.approx([ENDS[name][3] * 2 * 0.076564 for name in ENDS])
    assert [text.get_text() for text in epochs.texts] == ["480", "0", "100", "110", "0", "0", "230"]
    assert epochs.get_xscale() == "linear"


def test_costs_of_a_wide_range_are_on_a_log_scale_that_still_shows_zero(seven):
    wide = seven.summary.assign(client_epochs=[0.0, 1.0, 5000.0, 1.0, 1.0, 1.0, 1.0] * 3)
    axes = cost(wide).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_title(loc="left") == "Client epochs, log scale"
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    assert ends[1:] == pytest.approx([1, 5000, 1, 1, 1, 1])
    assert axes.patches[0].get_width() == 0
    assert axes.texts[0].get_text() == "0"


def test_a_strategy_has_one_colour_in_all_figures(seven):
    look = {name: colour.lower() for name, (colour, _) in looks(ENDS).items()}
    assert len(set(look.values())) == len(look)
    legend = forgetting(seven.metrics, seven.summary).legends[0]
    named = zip(legend.get_texts(), legend.legend_handles, strict=True)
    shown = {text.get_text(): handle for text, handle in named}
    assert {name: to_hex(shown[name].get_color()) for name in look} == look
    bars = cost(seven.summary).axes[0].patches
    assert [to_hex(bar.get_facecolor()) for bar in bars] == list(look.values())


def test_a_strange_strategy_keeps_its_look_when_known_ones_come_and_go():
    assert looks(["none", "mine", "retrain"])["mine"] == looks(["mine", "federaser"])["mine"]


def test_few_clients_show_every_count_but_zero(one):
    axes = labels(one.clients, one.summary).axes[0]
    written = sorted(int(text.get_text()) for text in axes.texts)
    assert written == sorted(count for count in one.clients["train"] if count)
    totals = one.clients.groupby("client")["train"].sum()
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == [f"{client}\n{total}" for client, total in totals.items()]


def test_many_clients_are_colours_with_a_scale_and_leavers_are_marked(tmp_path):
    run = runs.load(simulated(tmp_path, ("retrain",), leavers=("3", "70+71"), clients=100))
    figure = labels(run.clients, run.summary)
    axes, scale = figure.axes
    assert len(axes.texts) == 0
    assert scale.get_ylabel() == "Records"
    assert list(axes.lines[0].get_xdata()) == [3.5, 70.5, 71.5]
    assert "clients 3, 70 and 71 leave" in texts(figure)
    assert axes.get_ylim() == (10, 0)


def test_all_text_can_be_read_in_print(seven):
    figures = [
        forgetting(seven.metrics, seven.summary),
        tradeoff(seven.summary),
        cost(seven.summary),
        labels(seven.clients, seven.summary),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        shown = [text for text in figure.findobj(Text) if text.get_text().strip()]
        assert min(text.get_fontsize() for text in shown) >= 7
        assert figure.get_figwidth() in (plots.NARROW, plots.WIDE)
