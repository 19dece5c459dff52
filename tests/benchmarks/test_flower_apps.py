"""The table of docs/flower.md: wrapped apps are Flower's, to the bit."""

import pytest

from benchmarks.example_apps import APPS
from benchmarks.flower_apps import distances, methods
from fedunlearn.simulations import docs_tables
from tests.support.slow import slowly

pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.filterwarnings("ignore")]


FAST = ("numpy", "a baseline with a strategy of its own")
"""One without torch, one whose strategy is no FedAvg; the others with the slow tests."""


@pytest.mark.parametrize("name", [*FAST, *slowly(*(name for name in APPS if name not in FAST))])
def test_training_and_retraining_are_those_of_plain_flower_to_the_bit(name):
    assert distances(APPS[name]) == (0, 0)


def test_the_methods_that_serve_are_those_of_the_docs():
    served, refused = methods(APPS["numpy"])
    assert set(served) == docs_tables.served_by_plain_apps()
    assert sorted(served + refused) == docs_tables.names()
