import pytest

from fedunlearn import runs
from tests.plots.runs import simulated


@pytest.fixture(scope="session")
def seven(tmp_path_factory):
    """Three seeds, all strategies, recovery."""
    return runs.load(simulated(tmp_path_factory.mktemp("seven"), seeds=(0, 1, 2), recovery=4))


@pytest.fixture(scope="session")
def one(tmp_path_factory):
    """One seed, few strategies, no recovery, no backdoor."""
    names = ("retrain", "none", "federaser")
    return runs.load(simulated(tmp_path_factory.mktemp("one"), names, probe=""))
