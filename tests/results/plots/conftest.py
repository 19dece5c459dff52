import pytest

from fedunlearn.results import run_files
from tests.support.simulated_runs import simulated


@pytest.fixture(scope="session")
def seven(tmp_path_factory):
    """Three seeds, all strategies, recovery."""
    return run_files.load(simulated(tmp_path_factory.mktemp("seven"), seeds=(0, 1, 2), recovery=4))


@pytest.fixture(scope="session")
def one(tmp_path_factory):
    """One seed, few strategies, no recovery, no backdoor."""
    names = ("retrain", "none", "federaser")
    return run_files.load(simulated(tmp_path_factory.mktemp("one"), names, probe=""))
