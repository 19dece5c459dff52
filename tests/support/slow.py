"""Cases of a parametrized test that only the slow tests try."""

from typing import Any

import pytest


def slowly(*cases: Any) -> list[Any]:
    """Return cases that are tried with the slow tests: others beside them show the same faster.

    A case of several arguments is a tuple.
    """
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]
