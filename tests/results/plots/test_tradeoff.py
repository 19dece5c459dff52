import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.offsetbox import AnnotationBbox, TextArea

from fedunlearn.results.plots.tradeoffs import tradeoff
from tests.support.simulated_runs import ENDS, texts


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


def test_small_differences_are_not_blown_up(one):
    still = one.summary.assign(test_accuracy=0.0, test_accuracy_gap=0.0, forget_accuracy_gap=0.001)
    points = tradeoff(still).axes[0]
    assert np.diff(points.get_xlim()) >= 3
    assert points.get_ylim() == (0, 5)


def test_up_to_the_distance_of_retrained_models_from_each_other_the_ground_is_shaded(seven):
    again = seven.summary[seven.summary.strategy == "retrain"].assign(strategy="retrain-2")
    both = pd.concat([seven.summary, again])
    both.loc[both.strategy.str.startswith("retrain"), "attack_success_rate_gap"] = 0.04
    figure = tradeoff(both)
    (ground,) = figure.axes[0].patches
    assert (ground.get_y(), ground.get_height()) == (0, pytest.approx(4))
    assert {area.get_text() for area in figure.findobj(TextArea)} & {"retrain-2"} == set()
