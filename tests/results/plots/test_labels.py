from fedunlearn.results import run_files
from fedunlearn.results.plots.label_map import labels
from tests.support.simulated_runs import simulated, texts


def test_few_clients_show_every_count_but_zero(one):
    axes = labels(one.clients, one.summary).axes[0]
    written = sorted(int(text.get_text()) for text in axes.texts)
    assert written == sorted(count for count in one.clients["train"] if count)
    totals = one.clients.groupby("client")["train"].sum()
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == [f"{client}\n{total}" for client, total in totals.items()]


def test_many_clients_are_colours_with_a_scale_and_leavers_are_marked(tmp_path):
    run = run_files.load(simulated(tmp_path, ("retrain",), leavers=("3", "70+71"), clients=100))
    figure = labels(run.clients, run.summary)
    axes, scale = figure.axes
    assert len(axes.texts) == 0
    assert scale.get_ylabel() == "Records"
    assert list(axes.lines[0].get_xdata()) == [3.5, 70.5, 71.5]
    assert "clients 3, 70 and 71 leave" in texts(figure)
    assert axes.get_ylim() == (10, 0)
