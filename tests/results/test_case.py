"""A case and the name of its files: one tells the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.results import Case


@given(st.integers(0, 2**32), st.text(min_size=1), st.integers(0, 99))
def test_a_name_tells_the_case_whatever_the_strategy_is_called(seed, strategy, request):
    case = Case(seed, strategy, request)
    assert Case.parse(case.name) == case


def test_names_and_files():
    case = Case(3, "retrain-2", 1)
    assert case.name == "seed3-retrain-2-request1"
    assert case.model_file == "models/seed3-retrain-2-request1.safetensors"
    assert case.certificate_file == "certificates/seed3-retrain-2-request1.md"
    assert Case.parse("seed0-a-request1-request2") == Case(0, "a-request1", 2)


@pytest.mark.parametrize("name", ["", "seed0-a", "seed-a-request1", "seed0--request", "x-request1"])
def test_what_names_no_case_is_refused(name):
    with pytest.raises(ValueError, match="does not name a seed, a strategy and a request"):
        Case.parse(name)


def test_cases_stand_in_the_order_of_seed_strategy_and_request():
    cases = [Case(1, "a", 1), Case(0, "b", 2), Case(0, "b", 1), Case(0, "a", 9)]
    assert sorted(cases) == [cases[3], cases[2], cases[1], cases[0]]
