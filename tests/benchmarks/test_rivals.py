"""Rivals answer from processes of other Pythons, and are left out where there is none."""

import os

import pytest

from benchmarks import throughput
from benchmarks.contenders import BEST_LOOP, CEILING, CONTENDERS, LOOPS, OURS, RIVALS, Rival, ratios
from benchmarks.rivals.environments import Environment
from benchmarks.rivals.player import RivalPlayer
from benchmarks.workloads import mlp
from tests.support.rivals import ThisPython

WORKLOAD = mlp(60, 20)


def player(function):
    return RivalPlayer(ThisPython(), f"tests.support.rivals:{function}", WORKLOAD, {})


@pytest.mark.slow
def test_laps_are_answered_whatever_a_rival_prints(capfd):
    with player("noisy") as rival:
        laps = [rival.lap(rounds) for rounds in (1, 3)]
    assert [each.rounds for each in laps] == [1, 3]
    assert laps[1].since_imports > laps[0].since_imports > 0
    assert all(each.seconds > 0 for each in laps)
    assert capfd.readouterr().err.count("a round of MLP 60 x 20") == 4
    with pytest.raises(ProcessLookupError):
        os.kill(rival.pid, 0)


@pytest.mark.slow
def test_a_rival_that_fails_says_why():
    with player("failing") as rival:
        rival.lap(1)
        with pytest.raises(RuntimeError, match=r"failing failed:\n(.|\n)*ValueError: no more"):
            rival.lap(1)


def test_a_rival_without_its_python_is_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    absent = Rival(Environment("nothing==1.0", python="3.999"), "nowhere:contend")
    monkeypatch.setitem(CONTENDERS, "absent", absent)
    assert throughput.measured(WORKLOAD, ["absent"], 1) == {}
    assert capsys.readouterr().out == (
        "nothing==1.0 needs Python 3.999, which is not on PATH: it is left out.\n"
    )


def test_ratios_name_every_rival_that_was_measured():
    speeds = {OURS: [8.0], CEILING: [10.0], LOOPS[0]: [2.0], **{name: [4.0] for name in RIVALS}}
    assert ratios(speeds) == {BEST_LOOP: 4.0, CEILING: 0.8, **dict.fromkeys(RIVALS, 2.0)}
