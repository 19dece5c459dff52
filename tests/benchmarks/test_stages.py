"""The table of docs/results, from a run's files."""

import pandas as pd
import pytest

from benchmarks import stages
from tests.support.simulated_runs import ENDS, simulated


@pytest.fixture
def run(tmp_path):
    return simulated(tmp_path / "run", seeds=(0, 1), recovery=4)


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_a_row_a_strategy_with_both_stages(run):
    headings, _, *rows = cells(stages.table(run))
    assert len(headings) == 1 + 2 * 3 + 2
    assert [row[0] for row in rows] == list(ENDS)
    metrics = pd.read_csv(run / "metrics.csv")
    for place, phase in ((1, "unlearn"), (4, "recover")):
        mine = metrics[(metrics.strategy == "federaser") & (metrics.phase == phase)]
        last = mine[mine["round"] == mine["round"].max()]
        values = 100 * last.loc[last.metric == "test_accuracy", "value"]
        assert rows[3][place] == f"{values.mean():.1f} ±{values.std():.1f}"


def test_recovery_can_be_looked_at_earlier(run):
    metrics = pd.read_csv(run / "metrics.csv")
    early = metrics[
        (metrics.strategy == "finetune")
        & (metrics.phase == "recover")
        & (metrics["round"] == 2)
        & (metrics.metric == "forget_accuracy")
    ]
    _, _, *rows = cells(stages.table(run, recovery=2))
    assert rows[2][5] == f"{100 * early['value'].mean():.1f} ±{100 * early['value'].std():.1f}"
    assert rows[2][5] != cells(stages.table(run))[4][5]


def test_the_command_prints_the_table(run, capsys):
    stages.main([str(run)])
    assert capsys.readouterr().out.strip() == stages.table(run)
