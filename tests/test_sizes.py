"""No function, class or file is longer than one can take in."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "conf", "docs", "fedunlearn", "simulations", "strategies")
MOST = {"file": 300, "class": 200, "function": 50}
"""Lines."""

TABLES = {"fedunlearn/results/all_metrics.py"}
"""Files that are one table of data."""

KINDS = {
    ast.ClassDef: "class",
    ast.FunctionDef: "function",
    ast.AsyncFunctionDef: "function",
}


def sources():
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def too_long(files):
    """What is longer than `MOST` allows, as (file, what)."""
    longer = set()
    for file, source in files.items():
        if len(source.splitlines()) > MOST["file"]:
            longer.add((file, "file"))
        for node in ast.walk(ast.parse(source)):
            kind = KINDS.get(type(node))
            if kind and node.end_lineno - node.lineno + 1 > MOST[kind]:
                longer.add((file, node.name))
    return longer


def test_nothing_is_longer_than_its_kind_may_be():
    files = sources()
    assert len(files) > 200
    assert too_long(files) <= {(file, "file") for file in TABLES}


def test_tables_hold_no_function():
    for file in TABLES:
        tree = ast.parse((ROOT / file).read_text())
        assert not any(type(node) in KINDS for node in ast.walk(tree)), file


@pytest.mark.parametrize("more", [0, 1])
def test_the_first_line_too_many_is_found(more):
    body = "    x = 1\n"
    function = "def f():\n" + body * (MOST["function"] - 1 + more)
    held = "class C:\n" + body * (MOST["class"] - 1 + more)
    files = {
        "a.py": function,
        "b.py": held,
        "c.py": "x = 1\n" * (MOST["file"] + more),
        "d.py": "async " + function,
    }
    expected = {("a.py", "f"), ("b.py", "C"), ("c.py", "file"), ("d.py", "f")}
    assert too_long(files) == (expected if more else set())
