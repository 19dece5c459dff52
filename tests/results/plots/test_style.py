import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from fedunlearn.results import looks_of
from fedunlearn.results.plots import FULL_WIDTH
from fedunlearn.results.plots.against_rounds import forgetting
from fedunlearn.results.plots.costs import cost
from fedunlearn.results.plots.label_map import labels
from fedunlearn.results.plots.style import NARROW, within
from fedunlearn.results.plots.tradeoffs import tradeoff
from tests.support.simulated_runs import ENDS


@pytest.fixture(scope="module")
def figures(seven):
    return {
        forgetting: forgetting(seven.metrics, seven.summary),
        tradeoff: tradeoff(seven.summary),
        cost: cost(seven.summary),
        labels: labels(seven.clients, seven.summary),
    }


def test_a_strategy_has_one_colour_in_all_figures(figures):
    look = {name: look.colour.lower() for name, look in looks_of(ENDS).items()}
    assert len(set(look.values())) == len(look)
    legend = figures[forgetting].legends[0]
    named = zip(legend.get_texts(), legend.legend_handles, strict=True)
    shown = {text.get_text(): handle for text, handle in named}
    assert {name: to_hex(shown[name].get_color()) for name in look} == look
    bars = figures[cost].axes[0].patches
    assert [to_hex(bar.get_facecolor()) for bar in bars] == list(look.values())


def test_all_text_can_be_read_in_print(figures):
    for figure in figures.values():
        figure.draw_without_rendering()
        shown = [text for text in figure.findobj(Text) if text.get_text().strip()]
        assert min(text.get_fontsize() for text in shown) >= 7
        assert figure.get_figwidth() in (NARROW, FULL_WIDTH)


@pytest.mark.parametrize(
    ("axis", "least", "found"),
    [
        ((-5, 105), 3, (0, 100)),
        ((99.9, 100.4), 3, (97, 100)),
        ((-0.1, 0.1), 3, (0, 3)),
        ((40, 60), 3, (40, 60)),
        ((40, 41), 3, (39, 42)),
        ((0, 0), 0, (0, 0)),
    ],
)
def test_an_axis_ends_where_its_values_do_and_spans_what_it_should(axis, least, found):
    assert within(*axis, least, (0, 100)) == pytest.approx(found)
