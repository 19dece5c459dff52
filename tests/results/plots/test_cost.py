import pytest

from fedunlearn.results.plots.costs import cost
from tests.support.simulated_runs import ENDS


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
