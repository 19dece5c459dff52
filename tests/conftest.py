"""What all tests share."""

import gc

import pytest

gc.set_threshold(50_000, 20, 10)  # an eighth of the time went into looking for garbage


@pytest.fixture(autouse=True)
def leaks_stay_where_they_are(request):
    """Collect what Ray leaves open in the test that used it and ignores it, not in a later one."""
    if not request.node.get_closest_marker("filterwarnings"):
        yield
        return
    gc.freeze()  # looking through all that was there before takes half a second
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture
def one_torch_thread():
    """As in a run: threads of torch's own would change the last digits, and crowd the cores."""
    import torch  # not at the top: the process that hands tests to the others needs none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
