"""One table shows what came of all runs of a multirun."""

import io
import json

import pandas as pd
import pytest
from rich.console import Console

from fedunlearn.results import ANSWER_COLUMNS, MANIFEST_FILE, printed_runs
from fedunlearn.results.wording import MINUS_SIGN


def answer(strategy, word, gap):
    values = {"request": 1, "strategy": strategy, "answer": word, "accuracy_gap": gap}
    return {**dict.fromkeys(ANSWER_COLUMNS, ""), **values, "work": 0.5, "bytes": 0.25}


@pytest.fixture
def multirun(tmp_path):
    def made(*runs):
        for number, (overrides, answers) in enumerate(runs):
            folder = tmp_path / str(number)
            folder.mkdir()
            content = {"status": "failed", "overrides": overrides}
            (folder / MANIFEST_FILE).write_text(json.dumps(content))
            if answers:
                pd.DataFrame(answers).to_csv(folder / "answers.csv", index=False)
        return tmp_path

    return made


def printed(folder, width=100):
    text = io.StringIO()
    Console(file=text, width=width).print(printed_runs(folder))
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def test_a_line_a_run_shows_what_differs_and_what_came_of_it(multirun):
    controls = [answer("none", "undecided", 0.1), answer("retrain again", "undecided", 0)]
    folder = multirun(
        (["model=mlp", "seed=0"], [*controls, answer("pga", "as retrained", 0.012)]),
        (["model=mlp", "seed=1"], [*controls, answer("pga", "broken", -0.5)]),
    )
    lines = printed(folder)
    assert "2 runs, all with model=mlp" in lines[0]
    assert lines[-2:] == [
        "0 seed=0 pga 1 +1.2 0.50x 0.25x forgotten: as retrained",
        f"1 seed=1 pga 1 {MINUS_SIGN}50.0 0.50x 0.25x broken",
    ]


def test_controls_are_shown_where_they_stand_alone(multirun):
    lines = printed(multirun((["seed=3"], [answer("none", "undecided", 0)])))
    assert lines[0] == "1 run"
    assert lines[-1] == "0 seed=3 none 1 +0.0 0.50x 0.25x undecided"


def test_a_run_that_failed_says_so(multirun):
    lines = printed(multirun((["seed=0"], None), (["seed=1"], [answer("pga", "undecided", 0)])))
    assert lines[-2] == "0 seed=0 no answer"
