"""What all tests share."""

import gc

import pytest
import torch


@pytest.fixture(autouse=True)
def leaks_stay_where_they_are(request):
    """Collect what Ray leaves open in the test that used it and ignores it, not in a later one."""
    yield
    if request.node.get_closest_marker("filterwarnings"):
        gc.collect()


@pytest.fixture
def one_torch_thread():
    """As in a run: threads of torch's own would change the last digits, and crowd the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
