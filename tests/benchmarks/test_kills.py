"""What the benchmark of kills plans and says."""

import sys

from benchmarks import kills
from benchmarks.killed_runs import Place, whereabouts
from fedunlearn.experiment import whole_run


def test_cases_plan_the_same_each_time_and_every_place_gets_its_turn():
    places = [(0, n, Place(n % 3, f"stage {n % 4}")) for n in range(1, 200)]
    whole = kills.Undisturbed({}, places, [3.0])
    scenario = kills.SHARES[0]
    turns = [case for case in range(60) if kills.SHARES[case % len(kills.SHARES)] == scenario]
    plans = [kills.planned(case, scenario, whole) for case in turns]
    assert plans == [kills.planned(case, scenario, whole) for case in turns]
    by_event = {number: place for _, number, place in places}
    first = [plan.kills[0] for plan in plans]
    assert {by_event[kill.event] for kill in first if kill.event} == set(by_event.values())
    assert any(kill.seconds for kill in first)


def test_every_file_but_hydras_and_locks_is_compared(tmp_path):
    for name in ("run0/metrics.csv", "run0/.hydra/hydra.yaml", "run0/.lock", "log"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "run0" / ".x.partial").touch()
    found = kills.contents(tmp_path)
    assert found.keys() == {"run0/metrics.csv", "run0/.x.partial"}
    other = {**found, "run0/metrics.csv": b"", "more": b""}
    assert kills.differing(found, other) == ["more", "run0/metrics.csv"]


def test_the_table_counts_each_kill_once():
    found = [
        {"scenario": "two seeds", "kills": [[0, "training"], [None, "answers"]]},
        {"scenario": "multirun", "kills": [[0, "training"]]},
    ]
    lines = kills.table(found).splitlines()
    assert lines[2:] == [
        "| answers |  | 1 | 0 | 0 | 0 | 0 | 1 |",
        "| training | 0 | 1 | 0 | 1 | 0 | 0 | 2 |",
        "| all |  | 2 | 0 | 1 | 0 | 0 | 3 |",
    ]


def test_a_place_is_read_from_the_stack(monkeypatch):
    frames = []
    monkeypatch.setattr(whole_run, "prepare", lambda *a: frames.append(sys._getframe()) or 1 / 0)
    try:
        whole_run.run(None, (0,), None, {}, None)
    except ZeroDivisionError:
        assert whereabouts(frames[0]) == Place(None, "opening and closing")
    assert whereabouts(None) == Place(None, "the command")
    assert frames
