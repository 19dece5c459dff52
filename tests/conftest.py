"""What all tests share."""

import gc

import pytest


@pytest.fixture(autouse=True)
def leaks_stay_where_they_are(request):
    """Collect what Ray leaves open in the test that used it and ignores it, not in a later one."""
    yield
    if request.node.get_closest_marker("filterwarnings"):
        gc.collect()
