"""Short buffers take a shortcut in the audit, and nothing is missed by it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.history.audit import writings
from fedunlearn.history.audit.patterns import SHORTEST, Patterns

texts = st.text(st.sampled_from("abXY09+/-_ ,\n\xe9"), max_size=120).map(str.encode)


@given(texts)
def test_digits_of_short_texts_are_read_as_those_of_long_ones(text):
    buffer = np.frombuffer(text, np.uint8)
    quick = list(writings.decodings(buffer))
    limit, writings.SHORT = writings.SHORT, 0
    try:
        whole = list(writings.decodings(buffer))
    finally:
        writings.SHORT = limit
    assert [name for name, _ in quick] == [name for name, _ in whole]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(quick, whole, strict=True))


@given(st.binary(min_size=SHORTEST, max_size=40), st.binary(max_size=30), st.binary(max_size=30))
def test_a_string_is_found_wherever_it_lies(wanted, before, after):
    buffer = np.frombuffer(before + wanted + after, np.uint8)
    assert (0, len(before)) in Patterns([wanted]).occurrences(buffer)
    assert Patterns([wanted]).occurrences(buffer[: SHORTEST - 1]) == []
