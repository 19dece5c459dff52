"""When a checkpoint is written, on a clock that tests wind."""

import pytest

from fedunlearn.experiment.checkpoint_schedule import PATIENCE, CheckpointSchedule


class Disk:
    """Notes what is written when, which takes ``took`` seconds of the clock."""

    def __init__(self, took):
        self.took, self.now, self.written = took, 0.0, []

    def clock(self):
        return self.now

    def save(self, state):
        self.written.append(state)
        self.now += self.took


def written(pause, took, times, now=()):
    disk = Disk(took)
    schedule = CheckpointSchedule(disk, pause, disk.clock)
    for moment in times:
        disk.now = max(disk.now, moment)
        schedule.save(moment, now=moment in now)
    return disk.written


def test_the_first_is_written_and_the_next_after_the_pause():
    assert written(10, 0, [0, 9, 10, 19, 20]) == [0, 10, 20]


def test_one_that_must_be_is_written_at_once_and_puts_off_the_next():
    assert written(10, 0, [0, 4, 12, 14], now=[4]) == [0, 4, 14]


@pytest.mark.parametrize(("pause", "expected"), [(1, 2 * PATIENCE), (50, 50)])
def test_one_that_takes_long_is_written_seldom(pause, expected):
    assert written(pause, 2, [0, expected - 1, expected]) == [0, expected]


def test_without_a_pause_each_is_written_however_long_it_takes():
    assert written(0, 3, [0, 3, 6]) == [0, 3, 6]
