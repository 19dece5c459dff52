"""What `fedunlearn verify` prints keeps its verdicts, however long they are."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from fedunlearn.simulations import verify

LONG = "exceeds the configured thresholds of test_accuracy_gap, forget_accuracy_gap; and more of it"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_long_verdict_folds_and_does_not_go(width):
    wish = SimpleNamespace(what="client 0")
    made = SimpleNamespace(seed=0, request=1, wish=wish, strategy="federaser", verdict=LONG)
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None)
    console.print(verify.listed(SimpleNamespace(certificates=[made, made])))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "No room" not in text.getvalue()
    column = lines[0].index("Verdict")
    folded = " ".join(" ".join(line[column:] for line in lines[2:]).split())
    assert folded == f"{LONG} {LONG}"
