import pytest

from tests.support.report_tables import looked_into, multirun
from tests.support.simulated_runs import simulated


@pytest.fixture(scope="session")
def two_requests(tmp_path_factory):
    """Two seeds, seven strategies, two requests, recovery, layers compared, models attacked."""
    folder = tmp_path_factory.mktemp("two")
    return looked_into(simulated(folder, seeds=(0, 1), leavers=("0", "1+2"), recovery=2))


@pytest.fixture(scope="session")
def sweeping(tmp_path_factory):
    """Six settings of FedEraser."""
    return multirun(tmp_path_factory.mktemp("sweep"))
