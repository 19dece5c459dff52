import math

import pytest

from fedunlearn.evaluators import GroupDeficit
from tests.support.evaluated import CLASSES, hits, records, saying


def test_it_is_what_the_group_lacks_next_to_all():
    sets = {"test": hits(8, 2), "group": hits(1, 3)}
    assert GroupDeficit()(saying(sets), None) == {"group_deficit": pytest.approx(0.55)}
    served_better = {"test": hits(1, 3), "group": hits(4, 0)}
    assert GroupDeficit()(saying(served_better), None) == {"group_deficit": pytest.approx(-0.75)}


@pytest.mark.parametrize(
    "sets", [{"test": hits(2, 2)}, {"test": hits(2, 2), "group": records([], [])}]
)
def test_without_a_group_there_is_none(sets):
    assert GroupDeficit()(saying(sets), None) == {}


def test_a_diverged_model_that_serves_nobody_has_none():
    nothing = records([[float("nan")] * CLASSES] * 3, [0, 1, 2])
    found = GroupDeficit()(saying({"test": nothing, "group": nothing}), None)
    assert math.isnan(found["group_deficit"])
