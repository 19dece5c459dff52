"""One look for a strategy: in every figure, in every chart, and in the terminal's order."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex

from fedunlearn.results import PALETTE, load, looks_of, printed_summary
from fedunlearn.results.looks import FIXED, GREY_COLOUR, INK_COLOUR, MARKER_SHAPES
from fedunlearn.results.plots.against_rounds import forgetting
from fedunlearn.results.plots.tradeoffs import tradeoff
from fedunlearn.results.report import Declared
from fedunlearn.results.report.evidence import gather
from fedunlearn.results.report.sections import report
from tests.support.simulated_runs import ENDS, simulated


def scales(spec):
    """Yield the colours and marks that a chart gives to strategies, layer by layer."""
    for layer in spec["layer"]:
        for channel in ("color", "shape"):
            encoding = layer["encoding"].get(channel, {})
            if encoding.get("field") == "strategy":
                scale = encoding["scale"]
                yield channel, dict(zip(scale["domain"], scale["range"], strict=True))


def test_a_run_gives_each_strategy_one_look_in_every_figure_and_chart(tmp_path):
    folder = simulated(tmp_path)
    run = load(folder)
    looks = looks_of(ENDS)
    drawn = report(gather(folder, Declared())).charts
    given = [pair for chart in drawn if "layer" in chart.spec for pair in scales(chart.spec)]
    assert {channel for channel, _ in given} == {"color", "shape"}
    for channel, scale in given:
        what = "colour" if channel == "color" else "symbol"
        assert scale == {name: getattr(look, what) for name, look in looks.items()}
    (legend,) = forgetting(run.metrics, run.summary).legends
    shown = zip(legend.get_texts(), legend.legend_handles, strict=True)
    handles = {text.get_text(): handle for text, handle in shown}
    for name, look in looks.items():
        assert to_hex(handles[name].get_color()).upper() == look.colour
        assert handles[name].get_marker() == look.marker
    points = {line.get_marker(): line for line in tradeoff(run.summary).axes[0].lines}
    for look in looks.values():
        assert to_hex(points[look.marker].get_color()).upper() == look.colour


def test_terminal_figures_and_report_have_one_order(tmp_path):
    names = ["sifu", "none", "retrain", "crab", "federaser"]
    order = ["retrain", "sifu", "none", "crab", "federaser"]
    assert list(looks_of(names)) == order
    ends = {name: ENDS["retrain" if name == "retrain" else "finetune"] for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.support.simulated_runs.ENDS", ends)
        folder = simulated(tmp_path, tuple(names))
    column = [text.strip("► \n") for text in printed_summary(load(folder).summary).columns[0].cells]
    assert column == order
    picks = report(gather(folder, Declared())).controls.picks
    assert [pick.name for pick in picks] == order


def test_a_strange_strategy_keeps_its_look_when_known_ones_come_and_go():
    ours = looks_of(["none", "mine", "retrain"])["mine"]
    assert ours == looks_of(["mine", "federaser"])["mine"]


def test_the_order_of_strategies_does_not_change_their_looks():
    names = [f"s{number}" for number in range(30)]
    assert looks_of(names) == looks_of(names[::-1])
    assert looks_of(ENDS) == looks_of([*ENDS][::-1])


@pytest.mark.parametrize(
    "count", [1, 5, len(PALETTE), len(PALETTE) + 1, len(PALETTE) * len(MARKER_SHAPES)]
)
def test_few_strategies_differ_in_colour_and_many_in_colour_or_mark(count):
    found = looks_of(["retrain", "none", *(f"s{number}" for number in range(count))])
    assert len(set(found.values())) == count + 2
    colours = {look.colour for look in found.values()}
    assert len(colours) == min(count, len(PALETTE)) + 2


def test_references_and_the_untouched_model_look_the_same_in_every_run():
    for others in ([], ["federaser"], [f"s{number}" for number in range(30)]):
        found = looks_of(["retrain", "none", *others])
        assert {name: found[name] for name in ("retrain", "none")} == {
            name: FIXED[name] for name in ("retrain", "none")
        }
        assert not {FIXED["retrain"].colour, FIXED["none"].colour} & set(PALETTE)


@pytest.mark.parametrize(
    "colour", [*PALETTE, INK_COLOUR, GREY_COLOUR, *(look.colour for look in FIXED.values())]
)
def test_colours_stand_out_from_white(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    light = sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    assert 1.05 / (light + 0.05) >= 4.5


# Viénot, Brettel and Mollon 1999, in linear light: what is seen without red or green cones.
BLIND = {
    "nobody": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def seen(colour, matrix):
    """Return a colour as CIE L*a*b*, D65."""
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(xyz @ np.clip(matrix @ linear, 0, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLIND)
def test_colours_are_told_apart_without_red_or_green(kind):
    matrix = np.array(BLIND[kind])
    for first, second in itertools.combinations(PALETTE, 2):
        distance = np.linalg.norm(seen(first, matrix) - seen(second, matrix))
        assert distance >= 20, (first, second)
